"""jsonargparse, with typed arguments. Variant "pair": its switches --k and --no_k."""

from jsonargparse import ActionYesNo, ArgumentParser
from keys import DECLARED, TYPES, VARIANT, default, nested, print_values

parser = ArgumentParser()
for name, kind in DECLARED.items():
    if kind in ("on", "off") and VARIANT == "pair":
        parser.add_argument(f"--{name}", action=ActionYesNo, default=default(kind))
    else:
        parser.add_argument(f"--{name}", type=TYPES[kind], default=default(kind))
values = parser.parse_args().as_dict()
print_values(nested(values))
