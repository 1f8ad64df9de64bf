"""Hydra, with nested values and the groups `model` and `data`. Variant "structured": a dataclass.

Prints the folder of the run too.
"""

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from keys import DECLARED, VARIANT, dataclass_of, default, nested, print_values
from omegaconf import OmegaConf, open_dict

own = {name: kind for name, kind in DECLARED.items() if kind != "group"}
store = ConfigStore.instance()
for group in ("model", "data"):
    for size in ("small", "large", "7b", "a-b.c"):
        store.store(group=group, name=size, node={"size": size})
defaults = nested({name: default(kind) for name, kind in own.items()})
node = (
    dataclass_of({**nested(own), "model": "any", "data": "any"})
    if VARIANT == "structured"
    else {**defaults, "gone": 1, "there": 2}
)
store.store(name="values", node=node)
settings = {"run": {"dir": "."}, "output_subdir": None, "job": {"chdir": False}}
quiet = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]
choices = [{"model": "large"}, {"data": "large"}]
store.store(name="config", node={"defaults": ["values", *choices, "_self_", *quiet], "hydra": settings})


@hydra.main(config_path=None, config_name="config", version_base="1.3")
def main(config):
    with open_dict(config):
        values = OmegaConf.to_container(config, resolve=True)
    values |= {group: values[group]["size"] for group in ("model", "data")}
    print_values({**values, "hydra.run.dir": HydraConfig.get().runtime.output_dir})


main()
