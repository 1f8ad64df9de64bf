"""OmegaConf's command line, merged into defaults. Variant "structured": into a dataclass."""

from keys import DECLARED, VARIANT, dataclass_of, default, nested, print_values
from omegaconf import OmegaConf

kinds = nested(DECLARED)
defaults = nested({name: default(kind) for name, kind in DECLARED.items()})
base = OmegaConf.structured(dataclass_of(kinds)) if VARIANT == "structured" else OmegaConf.create(defaults)
merged = OmegaConf.merge(base, OmegaConf.from_cli())
print_values(OmegaConf.to_container(merged, resolve=True))
