"""Credentials by name and by content: found, and nothing else taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

import rfprune
from rfprune.errors import SpecError
from rfprune.execution.launch.profiles import load_profile
from rfprune.execution.launch.secrets import why_secret
from rfprune.execution.launch.upload import collect

from .makers import profile_file, sweep

# fmt: off
NAMES = [
    ".env", ".env.local", "prod.env", ".envrc", ".netrc", ".pgpass", ".my.cnf", "a.pem",
    "server.key", "store.jks", "store.p12", "my.ppk", "id_rsa", "id_ed25519.pub", "krb5cc_1000",
    "x509up_u501", "userkey.pem", ".pypirc", ".npmrc", ".git-credentials", "kaggle.json",
    "wandb-settings", "auth_token", "hf_token.txt", "token.json", "credentials",
    "credentials.json", "client_secret_12.json", "application_default_credentials.json",
    "service_account.json", "service-account-key.json", "kubeconfig", "cluster.kubeconfig",
    "terraform.tfstate", "terraform.tfstate.backup", "prod.tfvars", ".vault-token", "vault.yml",
    "secrets.yaml", "secrets.py", "api_keys.py", "api_key.txt", "my_api_keys.py",
    "password.txt", "local_settings.py", ".ssh/config", ".aws/config", ".kube/config",
    ".docker/config.json", "secrets/anything.txt", ".gnupg/ring",
]
# fmt: on

CONTENTS = {
    "rsa": "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    "openssh": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "putty": "PuTTY-User-Key-File-3: ssh-ed25519",
    "age": "AGE-SECRET-KEY-1QQQQ",
    "aws": "key = AKIA" + "ABCDEFGHIJKLMNOP",
    "aws settings": "[default]\naws_secret_access_key = x",
    "google": '{"type": "service_account", "project_id": "x"}',
    "google token": "AIza" + "a" * 35,
    "azure": "DefaultEndpointsProtocol=https;AccountKey=" + "a" * 60 + "==",
    "github": "ghp_" + "a1B2" * 9,
    "gitlab": "glpat-" + "a1B2" * 5,
    "hub": "hf_" + "a1B2c3" * 6,
    "vault": "hvs." + "a1B2c3" * 6,
    "slack": "xoxb-123456789012-abcdef",
    "openai": "sk-proj-" + "a1B2c3" * 6,
    "npm": "npm_" + "a1B2c3" * 6,
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "docker": '{"auths": {"registry": {}}}',
    "terraform": '{"version": 4, "terraform_version": "1.5"}',
    "address": "uri = 'postgresql://me:hunter2@db.example/x'",
    "assignment": "API_KEY = 'f3a91c0d77b24e5b8d20'",
    "yaml": 'password: "correct9horse8battery"',
}

HARMLESS = {
    "model.py": "import torch\n\n\ndef build(tokens: int, key: str = 'abc') -> None:\n    pass\n",
    "notes.md": "See http://user@example.org:80/x and https://example.org/a:b@c.\n",
    "settings.py": "password = os.environ['PW']\napi_key = 'read from ${NAME}'\nsecret = None\n",
    "keyboard.json": '{"key": "value", "token": 3}',
    "profile.yml": "storage: postgresql://me:${PGPASSWORD}@db/x\n",
    "table.csv": "a,b\n" + "0.123456789,sk-1\n" * 100,
    "environment.yml": "dependencies: [python]\n",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_credentials(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert why_secret(path, name)


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents_of_credentials(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net.py"
    path.write_text("# a line before\n" + CONTENTS[kind] + "\n")
    why = why_secret(path, "net.py")
    assert why
    # What it says must not be the secret.
    assert CONTENTS[kind][:24] not in why


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_credential(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(HARMLESS[name])
    assert why_secret(path, name) == ""


def test_nothing_of_a_usual_project_looks_like_one() -> None:
    root = Path(rfprune.__file__).parents[1]
    for folder in ("sweeps", "cluster", "docs", "benchmarks", "rfprune"):
        for path in (root / folder).rglob("*"):
            inside = path.relative_to(root).as_posix()
            if path.is_file() and "__pycache__" not in inside:
                why = why_secret(path, inside)
                # Its own lists of names and marks are the exception.
                assert why == "" or path.name == "secrets.py", (inside, why)


def test_a_harmless_name_may_lead_to_a_key(tmp_path: Path) -> None:
    (tmp_path / "id_rsa").write_text("x")
    (tmp_path / "own.npz").symlink_to(tmp_path / "id_rsa")
    assert "id_rsa" in why_secret(tmp_path / "own.npz", "own.npz")
    (tmp_path / "plain").write_text("-----BEGIN PRIVATE KEY-----")
    (tmp_path / "other.npz").symlink_to(tmp_path / "plain")
    assert "a key" in why_secret(tmp_path / "other.npz", "other.npz")


def test_a_module_with_keys_beside_the_own_one_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def build(): ...\n")
    (tmp_path / "api_keys.py").write_text("KEY = 1\n")
    spec = sweep(model={"name": "net:build"})

    def files(**keys: object) -> list[str]:
        profile = load_profile(str(profile_file(tmp_path, "ray", **keys)))
        return sorted(collect(spec, tmp_path, profile).files)

    with pytest.raises(
        SpecError, match=r"api_keys.py: looks like a secret.*allow: \['api_keys.py'\]"
    ):
        files()
    assert files(exclude=["api_keys.py"]) == ["net.py", "sweep.yml"]
    assert files(allow=["api_keys.py"]) == ["api_keys.py", "net.py", "sweep.yml"]
