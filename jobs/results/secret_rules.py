"""Whether a text looks as if it held a secret: the public formats of keys and tokens by provider, words, and chance.

benchmarks/secret_samples.py measures the rules on made-up secrets. Of well-kept rule sets none is a Python library:
detect-secrets had its last release in 2024.
"""

from __future__ import annotations

import math
import re
from collections import Counter

# What begins a secret of a provider, and the characters that follow.
_FORMATS = {
    "AWS": r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
    "GitHub": r"\bgh[pousr]_\w{36}|\bgithub_pat_\w{22}",
    "GitLab": r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt)-[\w-]{20}",
    "Slack": r"\bxox[a-z]-[\w-]{10}|\bxapp-\d-[\w-]{10}|hooks\.slack\.com/services/T\w+/B\w+/\w{16}",
    "Hugging Face": r"\b(?:hf|api_org)_[A-Za-z]{30}",
    "OpenAI, Anthropic or the like": r"\bsk-(?:[a-z0-9]+-)*[\w-]{20}",
    "Google": r"\bAIza[\w-]{35}|\bGOCSPX-[\w-]{28}|\bya29\.[\w-]{20}|\b1//0[\w-]{30}",
    "Stripe": r"\b[sr]k_(?:live|test)_\w{10}|\bwhsec_\w{20}",
    "Twilio": r"\b(?:SK|AC)[0-9a-f]{32}\b",
    "SendGrid": r"\bSG\.[\w-]{16,}\.[\w-]{16}",
    "Mailgun or Mailchimp": r"\bkey-[0-9a-f]{32}\b|\b[0-9a-f]{32}-us\d{1,2}\b",
    "npm": r"\bnpm_\w{36}|_authToken\s*=",
    "PyPI": r"\bpypi-AgE[\w-]{20}",
    "Telegram": r"\b\d{8,10}:AA[\w-]{32}",
    "Discord": r"\b[MNO][\w-]{22,27}\.[\w-]{6}\.[\w-]{27}|discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20}",
    "JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAGE-SECRET-KEY-1[A-Z0-9]{20}|\bPuTTY-User-Key-File",
    "Azure": r"(?:Account|SharedAccess)Key\s*=\s*[\w+/]{40}|[?&]sig=[\w%+/]{20}|\b\w{3}8Q~[\w.~-]{31}",
    "DigitalOcean": r"\bdo[opr]_v1_[0-9a-f]{40}",
    "Databricks": r"\bdapi[0-9a-f]{32}",
    "Docker": r"\bdckr_(?:pat|oat)_[\w-]{20}",
    "HashiCorp": r"\bhv[sbr]\.[\w-]{24}|\b\w{14}\.atlasv1\.[\w-]{40}",
    "Shopify": r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "Square": r"\bsq0[a-z]{3}-[\w-]{22}|\bEAAA[\w-]{56}",
    "Weights & Biases": r"\bwandb_v\d_\w{20}",
    "another provider": r"\b(?:NRAK-|glsa_|glc_|lin_api_|ntn_|sntry[su]_|r8_|gsk_|pcsk_|nfp_|dp\.pt\.|figd_|"
    r"pat-\w{2,3}\d-|KGAT_|fw_|pplx-|xai-|tskey-|rubygems_|cio|doo_)[\w-]{24}",
    "password in an address": r"://[^/\s:@]+:[^/\s:@]+@",
}  # fmt: skip
_BY_PROVIDER = [(provider, re.compile(form)) for provider, form in _FORMATS.items()]
# Prefers false positives: a missing diff is only inconvenient, but others may read a secret that is stored.
_WORDS = re.compile(
    r"(?i)pass(word|wd|phrase)|secret|credential|(api|access|account|private|auth)[_-]?(key|token)|\btoken\b\s*[:=]"
    r"|bearer\s+\S{8}|\b(netrc|htpasswd)\b|\b(gh[opsu]|glpat|hf|sk|xox[a-z])[_-]\w{8}"
)
_DENSE = re.compile(r"[A-Za-z0-9+/_-]{32,}")
_BITS = 4.3  # of entropy for each character; of words in code about 4


def provider(text: str) -> str:
    """Whose format a secret in `text` has; "" where none is known."""
    return next((name for name, form in _BY_PROVIDER if form.search(text)), "")


def looks_secret(text: str) -> bool:
    """Whether a secret may stand in `text`, also by words such as password and by what only chance writes."""
    return bool(provider(text) or _WORDS.search(text) or any(map(_is_random, _DENSE.findall(text))))


def _is_random(word: str) -> bool:
    kinds = (str.islower, str.isupper, str.isdigit)
    if not all(any(map(kind, word)) for kind in kinds):
        return False
    counts = Counter(word).values()
    return -sum(n / len(word) * math.log2(n / len(word)) for n in counts) >= _BITS
