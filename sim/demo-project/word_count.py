"""Counts the words of text files."""

import re
import sys

WORD = re.compile(r"\w+(?:['’-]\w+)*")


def count_words(text: str) -> int:
    return len(WORD.findall(text))


def main(paths: list[str]) -> int:
    if not paths:
        print("usage: word_count.py FILE...", file=sys.stderr)
        return 2
    for path in paths:
        with open(path, encoding="utf-8") as file:
            print(f"{count_words(file.read()):7} {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
