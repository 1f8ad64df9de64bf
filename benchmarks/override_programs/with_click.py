"""click. Variant "flag": switches that can only be set."""

import click
from keys import DECLARED, VARIANT, default, print_values

ITEMS = {"floats": float, "ints": int, "texts": str, "switches": bool}
SCALARS = {"float": float, "int": int, "str": str, "optional": str, "any": str, "group": str}


def option(name, kind, variable):
    if kind in ("on", "off") and VARIANT == "flag":
        return click.option(f"--{name}", variable, is_flag=True)
    if kind in ("on", "off") and VARIANT == "value":
        return click.option(f"--{name}", variable, type=bool, default=default(kind))
    if kind in ("on", "off"):
        return click.option(f"--{name}/--no-{name}", variable, default=default(kind))
    if kind in ITEMS:
        return click.option(f"--{name}", variable, multiple=True, type=ITEMS[kind])
    if kind == "null":
        return click.option(f"--{name}", variable, type=float, default=None)
    return click.option(f"--{name}", variable, type=SCALARS[kind], default=default(kind))


def main(**values):
    print_values({name: values[f"v{index}"] for index, name in enumerate(DECLARED)})


for index, (name, kind) in enumerate(DECLARED.items()):
    main = option(name, kind, f"v{index}")(main)
click.command()(main)()
