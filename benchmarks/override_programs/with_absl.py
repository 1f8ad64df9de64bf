"""absl. Variant "multi": flags that are repeated; "pair": --nok."""

from absl import app, flags
from keys import DECLARED, VARIANT, default, print_values

ITEMS = {"floats": float, "ints": int, "texts": str, "switches": {"true": True, "false": False}.__getitem__}
MULTI = {"floats": flags.DEFINE_multi_float, "ints": flags.DEFINE_multi_integer, "texts": flags.DEFINE_multi_string}
SCALARS = {"float": flags.DEFINE_float, "int": flags.DEFINE_integer, "on": flags.DEFINE_bool, "off": flags.DEFINE_bool}

for name, kind in DECLARED.items():
    if VARIANT == "multi" and kind in MULTI:
        MULTI[kind](name, [], "")
    elif kind in ITEMS:
        flags.DEFINE_list(name, default(kind), "")
    elif kind == "null":
        flags.DEFINE_float(name, None, "")
    else:
        SCALARS.get(kind, flags.DEFINE_string)(name, default(kind), "")


def main(rest):
    assert len(rest) == 1, rest
    values = {name: flags.FLAGS[name].value for name in DECLARED}
    if VARIANT != "multi":  # absl gives the elements of a list as texts
        values.update({n: [ITEMS[k](part) for part in values[n]] for n, k in DECLARED.items() if k in ITEMS})
    print_values(values)


app.run(main)
