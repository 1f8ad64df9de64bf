"""Fire. Variant "signature": a function with named arguments, so that --nok is known."""

import fire
from keys import DECLARED, VARIANT, default, print_values


def main(**values):
    print_values(values)


if VARIANT == "signature":
    arguments = ", ".join(f"{name}={default(kind)!r}" for name, kind in DECLARED.items())
    exec(f"def main({arguments}): print_values(locals())")
fire.Fire(main)
