"""Which files look like credentials, by name and by content: they are not sent with a job.

Names are those that tools give their credentials; contents are the marks by which the issuers
themselves make their tokens recognisable. A file that is neither named nor marked like a secret is
not recognised as one, so what is sent is always listed as well.
"""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

__all__ = ["why_secret"]

#: What tools name their credentials, in lower case.
_NAMES = (
    # settings with passwords
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", "pgpass.conf", ".my.cnf"),
    *(".s3cfg", ".boto", ".passwd", "*.htpasswd", ".htpasswd", "passwords.*", "passwd.*"),
    # keys and key stores
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.p8", "*.pk8", "*.jks", "*.keystore", "*.truststore"),
    *("*.kdbx", "*.kdb", "*.ppk", "*.asc", "*.gpg", "*.pgp", "*.keytab", "*.ovpn", "*.der"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "authorized_keys", "krb5cc_*", "x509up_*"),
    *("usercert.*", "userkey.*", "*.agekey", "*.jwk"),
    # registries, version control, hubs
    *(".pypirc", ".npmrc", ".yarnrc*", ".git-credentials", ".gitcookies", ".dockercfg", ".hgrc"),
    *("pip.conf", ".condarc", ".kaggle.json", "kaggle.json", ".huggingface*", "hf_token*"),
    *("wandb-settings", ".wandb_api_key*", ".comet.config", "auth_token", "ray-token", "token"),
    *("*_token", "*.token", ".token*", "token.txt", "token.json", "tokens.*"),
    # clouds and clusters
    *("credentials", "credentials.*", "credentials_*", "*credentials.json", "client_secret*.json"),
    *("application_default_credentials.json", "service_account*.json", "service-account*.json"),
    *("*serviceaccount*.json", "accesskeys.*", "rootkey.csv", "azureauth.json", "publishsettings"),
    *("*.publishsettings", "kubeconfig*", "*.kubeconfig", "*.tfstate", "*.tfstate.*", "*.tfvars"),
    *("*.tfvars.json", ".terraformrc", "terraform.rc", ".vault-token", "vault.*", "*vault_pass*"),
    # one's own
    *("secret.*", "secrets.*", "secret_*", "secrets_*", "*_secret.*", "*_secrets.*", ".secret*"),
    *("api_key*", "apikey*", "api-key*", "*_api_key.*", "*_api_keys.*", "password.*", "keys.py"),
    *("*private_key*", "*private-key*", "*.secret", "*.secrets", "local_settings.py"),
)
#: Folders of credentials; whatever lies below them.
_FOLDERS = (
    *(".ssh", ".aws", ".azure", ".gcloud", ".kube", ".docker", ".gnupg", ".globus", ".ray"),
    *(".oci", ".terraform.d", ".password-store", ".secrets", "secrets", ".vault", ".config/gcloud"),
    *(".huggingface", ".kaggle", ".databrickscfg", ".chef", ".step"),
)
#: What the issuers write at the head of their tokens, and what key files begin with.
_MARKS = (
    (rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File|-----BEGIN PGP PRIVATE", "a key"),
    (rb"AGE-SECRET-KEY-1|openssh-key-v1", "a private key"),
    (rb"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b|aws_secret_access_key", "an AWS credential"),
    (rb'"type":\s*"(?:service_account|authorized_user)"|"private_key_id"', "a Google credential"),
    (rb"\bAIza[0-9A-Za-z_-]{35}|\bya29\.[0-9A-Za-z_-]{20}", "a Google token"),
    (
        rb"AccountKey=[A-Za-z0-9+/=]{40}|SharedAccessSignature|\bsig=[A-Za-z0-9%]{40}",
        "an Azure key",
    ),
    (rb"\bgh[pousr]_[A-Za-z0-9]{30}|github_pat_[A-Za-z0-9_]{40}", "a GitHub token"),
    (rb"\bgl(?:pat|dt|rt|cbt)-[A-Za-z0-9_-]{20}", "a GitLab token"),
    (rb"\bhf_[A-Za-z0-9]{30}|\bapi_org_[A-Za-z0-9]{30}", "a Hugging Face token"),
    (rb"\bhv[sbr]\.[A-Za-z0-9_-]{20}|VAULT_TOKEN", "a Vault token"),
    (rb"\bxox[abposr]-[A-Za-z0-9-]{10}|hooks\.slack\.com/services/", "a Slack token"),
    (rb"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{20}|\b[rs]k_live_[A-Za-z0-9]{16}", "an API key"),
    (rb"\bnpm_[A-Za-z0-9]{36}|\bpypi-AgEI|\bdckr_pat_[A-Za-z0-9_-]{20}", "a registry token"),
    (rb"\bdapi[a-f0-9]{32}|\bSG\.[A-Za-z0-9_-]{16}\.", "an API token"),
    (rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10}", "a signed token"),
    (rb'"auths":\s*\{|"terraform_version":|client-key-data:', "a credential"),
    (rb"://[^/\s:@\"'{}<>$]{1,64}:[^/\s@\"'{}<>$*.]{3,}@[A-Za-z0-9]", "an address with a password"),
    (
        rb"(?i)(?:api_?key|secret_?key|access_?key|auth_?token|api_?token|passw(?:or)?d)[\"']?"
        rb"\s*[:=]\s*[\"'](?=[^\"']*[0-9])(?=[^\"']*[A-Za-z])[A-Za-z0-9+/_=.-]{16,}[\"']",
        "a password or key",
    ),
)
#: First bytes of Java's and PKCS #12 key stores, and of KeePass.
_MAGIC = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce", b"\x03\xd9\xa2\x9a")
#: Secrets are short; of a larger file, a data set most likely, the beginning is looked at.
_LOOKED_AT_BYTES = 1 << 20


def why_secret(path: Path, inside: str) -> str:
    """Return why a file looks like a credential, and nothing if it does not.

    Args:
        path: the file; where it is a link, what it leads to counts as well.
        inside: its path as the job has it, whose folders count.
    """
    for place in (Path(inside), path.resolve()):
        if any(fnmatch.fnmatchcase(place.name.lower(), pattern) for pattern in _NAMES):
            return f"named like a credential ({place.name})"
    folders = {part.lower() for part in (*Path(inside).parts[:-1], *path.resolve().parts[:-1])}
    if found := folders.intersection(_FOLDERS):
        return f"in a folder of credentials ({min(found)})"
    return _by_content(path)


def _by_content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LOOKED_AT_BYTES)
    except OSError:
        return ""  # the reader of the upload says so
    if content.startswith(_MAGIC):
        return "a key store by its first bytes"
    # Numbers of an array may look like anything.
    if b"\0" in content[:8192]:
        return ""
    for pattern, what in _MARKS:
        if (found := re.search(pattern, content)) is not None:
            line = content.count(b"\n", 0, found.start()) + 1
            return f"what looks like {what} in line {line}"
    return ""
