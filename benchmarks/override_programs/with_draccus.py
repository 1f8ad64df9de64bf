"""draccus, with a dataclass."""

import draccus
from keys import DECLARED, dataclass_of, nested, print_values

print_values(vars(draccus.parse(config_class=dataclass_of(nested(DECLARED)))))
