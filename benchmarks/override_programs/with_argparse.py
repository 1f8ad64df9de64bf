"""argparse. Variant "append": store_true, action="append"; "comma": type=, with a function that splits."""

import argparse

from keys import DECLARED, TYPES, VARIANT, default, print_values

ITEMS = {"floats": float, "ints": int, "texts": str, "switches": lambda text: {"True": True, "False": False}[text]}


def split(kind):
    return lambda text: [ITEMS[kind](part) for part in text.split(",")] if text else []


parser = argparse.ArgumentParser()
for name, kind in DECLARED.items():
    if kind in ("on", "off"):
        action = "store_true" if VARIANT else argparse.BooleanOptionalAction
        parser.add_argument(f"--{name}", action=action, default=False if VARIANT else default(kind))
    elif kind in ITEMS and VARIANT == "append":
        parser.add_argument(f"--{name}", action="append", type=ITEMS[kind], default=[])
    elif kind in ITEMS and VARIANT == "comma":
        parser.add_argument(f"--{name}", type=split(kind), default=default(kind))
    elif kind in ITEMS:
        parser.add_argument(f"--{name}", nargs="*", type=ITEMS[kind], default=default(kind))
    elif kind == "null":
        parser.add_argument(f"--{name}", type=float, default=None)  # None is not written
    else:
        parser.add_argument(
            f"--{name}", type=str if kind in ("optional", "any") else TYPES[kind], default=default(kind)
        )
print_values(vars(parser.parse_args()))
