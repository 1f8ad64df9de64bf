"""pyrallis, with a dataclass."""

import pyrallis
from keys import DECLARED, dataclass_of, nested, print_values

print_values(vars(pyrallis.parse(config_class=dataclass_of(nested(DECLARED)))))
