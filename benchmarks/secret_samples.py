"""How many made-up secrets of 24 providers the rules find, and how many lines of code they take for one.

`python benchmarks/secret_samples.py [--seed N]`, about 10 s. With detect-secrets installed beside it (`pip install
detect-secrets`), its rules too. Secrets are drawn at run time in the providers' public formats; none is stored.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import string
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from jobs.results import secret_rules

EACH = 50
HEX, DIGITS, UPPER = "0123456789abcdef", string.digits, string.ascii_uppercase
ALNUM = string.ascii_letters + DIGITS
URL = ALNUM + "-_"
Drawn = random.Random


def words(draw: Drawn, alphabet: str, count: int) -> str:
    return "".join(draw.choices(alphabet, k=count))


def _encoded(draw: Drawn, count: int) -> str:
    return base64.b64encode(draw.randbytes(count)).decode()


def _token(draw: Drawn) -> str:
    parts = ({"alg": "HS256"}, {"sub": words(draw, DIGITS, 8)})
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, words(draw, URL, 43)])


SAMPLES: dict[str, Callable[[Drawn], str]] = {
    "AWS key": lambda d: "AKI" + "A" + words(d, UPPER + "234567", 16),
    "GitHub": lambda d: "gh" + d.choice("pousr") + "_" + words(d, ALNUM, 36),
    "GitHub, fine-grained": lambda d: "github" + "_pat_" + words(d, ALNUM, 22) + "_" + words(d, ALNUM, 59),
    "GitLab": lambda d: "gl" + "pat-" + words(d, URL, 20),
    "Slack": lambda d: "xox" + "b-" + words(d, DIGITS, 12) + "-" + words(d, DIGITS, 12) + "-" + words(d, ALNUM, 24),
    "Hugging Face": lambda d: "h" + "f_" + words(d, string.ascii_letters, 34),
    "OpenAI": lambda d: "sk" + "-proj-" + words(d, URL, 124),
    "Anthropic": lambda d: "sk" + "-ant-api03-" + words(d, URL, 93) + "AA",
    "Google": lambda d: "AIz" + "a" + words(d, URL, 35),
    "Stripe": lambda d: "sk" + "_live_" + words(d, ALNUM, 24),
    "Twilio": lambda d: "S" + "K" + words(d, HEX, 32),
    "SendGrid": lambda d: "S" + "G." + words(d, URL, 22) + "." + words(d, URL, 43),
    "Mailchimp": lambda d: words(d, HEX, 32) + "-us" + str(d.randint(1, 21)),
    "npm": lambda d: "npm" + "_" + words(d, ALNUM, 36),
    "PyPI": lambda d: "pypi" + "-AgEIcHlwaS5vcmc" + words(d, URL, 150),
    "Telegram": lambda d: words(d, "123456789", 10) + ":" + "AA" + words(d, URL, 33),
    "Discord": lambda d: d.choice("MN") + words(d, ALNUM, 23) + "." + words(d, URL, 6) + "." + words(d, URL, 38),
    "JSON web token": _token,
    "private key": lambda d: "-----BEGIN " + d.choice(["", "RSA ", "OPENSSH "]) + "PRIVATE KEY" + "-----",
    "Azure storage": lambda d: "AccountName=x;Account" + "Key=" + _encoded(d, 64),
    "DigitalOcean": lambda d: "dop" + "_v1_" + words(d, HEX, 64),
    "Databricks": lambda d: "dap" + "i" + words(d, HEX, 32),
    "Docker": lambda d: "dckr" + "_pat_" + words(d, URL, 27),
    "Weights & Biases": lambda d: "wandb_api_" + "key: " + words(d, HEX, 40),
}  # fmt: skip
# How a secret stands in a file: alone, in code, in YAML, in a command.
PLACES = ("{}", 'login("{}")', "value: {}", "export X='{}'", "curl -H 'X: {}' https://host")


def others(repository: Path) -> list[str]:
    """Lines of code without a secret: those of this project."""
    names = subprocess.run(["git", "-C", str(repository), "ls-files", "-z", "*.py", "*.yaml"],
                           check=True, capture_output=True, text=True).stdout.split("\0")  # fmt: skip
    skip = ("secret_rules.py", "secret_samples.py", "test_code_snapshot.py")
    paths = (repository / name for name in names if name and not name.endswith(skip))
    return [line for path in paths if path.is_file() for line in path.read_text(encoding="utf-8").splitlines()]


Rule = Callable[[list[str]], float]


def share(rule: Callable[[str], bool]) -> Rule:
    """The share of lines that a rule for one line takes for a secret."""
    return lambda lines: sum(map(rule, lines)) / len(lines)


def detect_secrets() -> Rule | None:
    """The same for detect-secrets with its default settings; None where it is not installed."""
    try:
        from detect_secrets.core.secrets_collection import SecretsCollection
        from detect_secrets.settings import default_settings
    except ImportError:
        return None

    def rule(lines: list[str]) -> float:
        with tempfile.TemporaryDirectory() as folder, default_settings():
            path = Path(folder) / "lines.py"
            path.write_text("\n".join(lines), encoding="utf-8")
            secrets = SecretsCollection()
            secrets.scan_file(str(path))
            return len({secret.line_number for _, secret in secrets}) / len(lines)

    return rule


def measure(rule: Rule, seed: int) -> dict[str, float]:
    """Provider -> share of its samples that the rule finds."""
    draw = random.Random(seed)
    return {
        provider: rule([draw.choice(PLACES).format(sample(draw)) for _ in range(EACH)])
        for provider, sample in SAMPLES.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lines", type=int, default=3000, help="lines of code that are tried")
    seed, count = (options := parser.parse_args()).seed, options.lines
    rules: dict[str, Rule] = {
        "formats": share(lambda line: bool(secret_rules.provider(line))),
        "formats, words, chance": share(secret_rules.looks_secret),
    }
    if (theirs := detect_secrets()) is not None:
        rules["detect-secrets"] = theirs
    shares = {name: measure(rule, seed) for name, rule in rules.items()}
    print("| secret of | " + " | ".join(rules) + " |")
    for provider in SAMPLES:
        print(f"| {provider} | " + " | ".join(f"{shares[name][provider]:.0%}" for name in rules) + " |")
    print("| all | " + " | ".join(f"{sum(s.values()) / len(s):.1%}" for s in shares.values()) + " |")
    lines = others(Path(__file__).resolve().parents[1])
    lines = random.Random(seed).sample(lines, min(count, len(lines)))
    print("| lines of code | " + " | ".join(f"{rule(lines):.2%}" for rule in rules.values()) + " |")


if __name__ == "__main__":
    main()
