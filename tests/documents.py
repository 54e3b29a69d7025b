"""What the tests take out of the READMEs."""

import re


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language; of "", those without one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for name, content in fenced if name == language]
