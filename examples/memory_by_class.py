"""Draw what a crashed kernel used its memory for: python examples/memory_by_class.py vmcore"""

import sys

import fadump

WIDTH = 50


def main(path: str) -> None:
    with fadump.open(path) as system:
        classes = system.page_classes
        pages = classes.count(list(system.dump.memory))
        most = max(pages.values())
        for page_class, count in pages.items():
            mib = count * classes.page_bytes / (1 << 20)
            bar = "#" * round(WIDTH * count / most)
            print(f"{page_class.name.lower():13} {mib:10.1f} MiB  {bar}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1])
    except (fadump.FadumpError, OSError) as error:
        sys.exit(str(error))
