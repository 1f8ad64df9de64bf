"""Reads the file that is named on its command line. Variant: the reader."""

import json
import sys
from pathlib import Path

import yaml
from keys import VARIANT, print_values
from omegaconf import OmegaConf

text = Path(sys.argv[1]).read_text(encoding="utf-8")
if VARIANT == "json":
    print_values(json.loads(text))
elif VARIANT == "yaml":
    print_values(yaml.safe_load(text))
else:
    print_values(OmegaConf.to_container(OmegaConf.create(text)))
