"""The files of a trained model: who signed them, whether they are what was signed, and which version decides.

    models/<name>/aliases.json            {"champion": "2", "challenger": null, "previous": "1", "approved": {"by": …}}
    models/<name>/<version>/model.onnx    the graph, at most 3 MiB, in one file
                            manifest.json SHA-256 of every file, what the graph takes and gives, figures, approval
                            manifest.sig  Ed25519 signature over the bytes of manifest.json, in base64
                            card.md       for people
                            parity.json   rows, and what training computed for them
                            reference.json what the training data looked like: for drift and for reasons

A version is believed when its manifest is signed by a key that the plant trusts (a folder of public keys), and its
files have the hashes that the manifest says. Whatever does not fit is ModelUnfit, with what to do.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from agent import checkpoints
from agent.durable import replace_durably
from agent.errors import BadPayload, ModelUnfit, NotFound, StoreError
from agent.scoring.modelfiles import FOLDER_NAME, Aliases, Approval, Manifest, Parity, Reference, Told
from agent.strict import strictjson
from agent.strict.schema import did_you_mean

MAX_BYTES: Final = 3 * 1024 * 1024  # of any file of a version
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
ALIASES: Final = "aliases.json"


@dataclass(frozen=True, slots=True)
class Version:
    """One version whose signature and hashes are right; `files` are the bytes that were hashed."""

    folder: Path
    manifest: Manifest
    digest: str  # SHA-256 of manifest.json
    signer: str  # name of the key, as its file is called
    files: Mapping[str, bytes]

    @property
    def parity(self) -> Parity:
        """Its cases. Raises ModelUnfit."""
        return _written(self.files["parity.json"], self.folder / "parity.json", Parity)

    @property
    def reference(self) -> Reference:
        """What its training data looked like, for every raw input. Raises ModelUnfit."""
        path = self.folder / "reference.json"
        reference = _written(self.files["reference.json"], path, Reference)
        if missing := set(self.inputs) - set(reference.inputs):
            raise ModelUnfit(f"{path}: says nothing about {min(missing)}; train the model again")
        return reference

    @property
    def inputs(self) -> tuple[str, ...]:
        """The raw inputs: the features as they are, and the categories that others stand for."""
        categories = self.manifest.categories
        of_categories = {f"{name}={value}" for name, values in categories.items() for value in values}
        return (*(one.name for one in self.manifest.features if one.name not in of_categories), *categories)


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────────────


Keys = Mapping[str, Ed25519PublicKey]


def trusted(folder: Path) -> Keys:
    """The public keys of a folder (``*.pub``, PEM) by the names of their files. Raises ModelUnfit."""
    try:
        return {path.stem: checkpoints.load_public(path) for path in sorted(folder.glob("*.pub"))}
    except (StoreError, OSError) as error:
        raise ModelUnfit(f"{error}; keep only public keys of models in {folder}") from None


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The content of ``manifest.sig`` for these bytes of ``manifest.json``."""
    return base64.b64encode(key.sign(manifest)) + b"\n"


def signer(manifest: bytes, signature: bytes, keys: Keys) -> str | None:
    """The name of the key that signed these bytes; None: none of these."""
    try:
        raw = base64.b64decode(signature.strip(), validate=True)
    except ValueError:
        return None
    for name, key in keys.items():
        try:
            key.verify(raw, manifest)
        except InvalidSignature:
            continue
        return name
    return None


# ── versions ────────────────────────────────────────────────────────────────────────────────────────────────


def read(folder: Path, keys: Keys) -> Version:
    """The version in this folder: signature, then manifest, then hashes. Raises ModelUnfit.

    What is not signed by a known key is not even parsed.
    """
    path = folder / MANIFEST
    raw = _read(path)
    signed_by = signer(raw, _read(folder / SIGNATURE), keys)
    if signed_by is None:
        known = ", ".join(keys) or "none"
        raise ModelUnfit(
            f"{path} is not signed by a key that is trusted here ({known}); restore the trained files, or put the "
            "public key of whoever trained them into the folder `model_keys`"
        )
    manifest = _told(raw, path, Manifest)
    if folder.resolve().name != manifest.version or folder.resolve().parent.name != manifest.name:
        raise ModelUnfit(f"{path} is of {manifest.name}/{manifest.version}; restore the folder under its own name")
    files = {name: _hashed(folder / name, digest) for name, digest in manifest.files.items()}
    return Version(folder, manifest, sha256(raw).hexdigest(), signed_by, files)


def write(models: Path, manifest: Manifest, files: Mapping[str, bytes], key: Ed25519PrivateKey) -> Path:
    """Write ``models/<name>/<version>/``, signed; returns the folder. The hashes of `files` are filled in.

    The signature is written last: whoever reads meanwhile finds a version that is not believed.
    """
    hashes = {name: sha256(data).hexdigest() for name, data in sorted(files.items())}
    whole = Manifest.model_validate(manifest.model_dump() | {"files": hashes})
    raw = whole.model_dump_json(indent=1).encode() + b"\n"
    folder = models / whole.name / whole.version
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in {**files, MANIFEST: raw, SIGNATURE: sign(raw, key)}.items():
        replace_durably(folder / name, data)
    return folder


def names(models: Path) -> list[str]:
    """The models that are there: with aliases, or with a version that was just trained."""
    named = [path.parent.name for path in models.glob(f"*/{ALIASES}")]
    trained = [path.parents[1].name for path in models.glob(f"*/*/{MANIFEST}")]
    return sorted({*named, *trained})


def versions(models: Path, name: str) -> list[str]:
    """The versions of a model, whether they are believed or not."""
    return sorted(path.parent.name for path in (models / name).glob(f"*/{MANIFEST}"))


def located(models: Path, name: str, version: str | None = None) -> Path:
    """The folder of this version, of the champion where none is named. Raises NotFound, ModelUnfit."""
    if version is None:
        return champion(models / name)
    if _absent(models / name):
        raise NotFound(_no_model(models / name))
    known = versions(models, name)
    if version not in known:
        raise NotFound(f"{models / name} has no version {version!r}; known: {', '.join(known) or 'none'}")
    return models / name / version


def holding(models: Path, name: str, sha256: str) -> Path:
    """The folder of the graph that ``name/version`` was when it scored, under whatever number it lies.

    Whether it is believed is seen when it is read. Raises ModelUnfit, saying what to do.
    """
    own = models / name
    others = (models / model / one for model in names(models) for one in versions(models, model))
    for folder in (own, *others):
        if _names_graph(folder, sha256):
            return folder
    back = "put the folder of that version back, from a backup or from where it was trained, with its signature"
    if not (own / MANIFEST).exists():
        raise ModelUnfit(f"{name} (SHA-256 {sha256[:12]}…) is not in {models} any more: {back}")
    raise ModelUnfit(
        f"{own} is another file now than the one that decided (SHA-256 {sha256[:12]}…): {back}; "
        "a version that was trained again needs another number"
    )


def _names_graph(folder: Path, sha256: str) -> bool:
    try:
        return sha256.encode() in (folder / MANIFEST).read_bytes()
    except OSError:
        return False


def _absent(folder: Path) -> bool:
    try:
        return not folder.is_dir()
    except OSError:  # may not be looked at: reading it says why
        return False


def _no_model(folder: Path) -> str:
    hint = did_you_mean(folder.name, names(folder.parent))
    return f"there is no model {folder.name!r} in {folder.parent}; {hint}"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelUnfit(f"{path} cannot be read: {error.strerror}; restore the model's files") from None
    if len(data) > MAX_BYTES:
        raise ModelUnfit(f"{path} is larger than {MAX_BYTES // 1024 // 1024} MiB; train a smaller model")
    return data


def _hashed(path: Path, digest: str) -> bytes:
    data = _read(path)
    found = sha256(data).hexdigest()
    if found != digest:
        raise ModelUnfit(
            f"{path} has SHA-256 {found[:12]}…, the manifest says {digest[:12]}…: restore the trained file"
        )
    return data


Some = TypeVar("Some", bound=Told)


def _told(data: bytes, path: Path, model: type[Some]) -> Some:
    """What a person may have written."""
    try:
        return model.model_validate(strictjson.read(data, MAX_BYTES))
    except BadPayload as error:
        raise ModelUnfit(f"{path}: {error}") from None
    except ValidationError as error:
        raise ModelUnfit(f"{path}: {_first(error, model.model_fields)}") from None


def _written(data: bytes, path: Path, model: type[Some]) -> Some:
    """What a program wrote, whose hash is right: many numbers, read quickly."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise ModelUnfit(f"{path}: {_first(error)}") from None


def _first(error: ValidationError, known: Iterable[str] = ()) -> str:
    """Where the first mistake is, and what it is; `known` are the keys that a person may have meant."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    of_folder = first.get("ctx", {}).get("pattern") == FOLDER_NAME
    words = {
        "missing": "is missing",
        "extra_forbidden": f"unknown key; {did_you_mean(place, list(known))}",
        "string_type": 'must be text in quotes, such as "2"',
    }
    message = words.get(first["type"], first["msg"])
    if of_folder:
        message = f"{first['input']!r} is no name of a folder: letters, digits and . _ - only"
    return f"{place}: {message}" if place else message


# ── which version decides ───────────────────────────────────────────────────────────────────────────────────


def aliases(folder: Path) -> Aliases:
    """Which version of ``models/<name>`` has which part. Raises ModelUnfit."""
    if _absent(folder):
        raise ModelUnfit(_no_model(folder))
    if not (folder / ALIASES).exists():
        name, there = folder.name, versions(folder.parent, folder.name)
        version = max(there, default="VERSION")
        raise ModelUnfit(f"{folder}: no version decides; `gatepost models promote {name} {version}` lets one")
    return _told(_read(folder / ALIASES), folder / ALIASES, Aliases)


def champion(folder: Path) -> Path:
    """The folder of the version that decides, of ``models/<name>``. Raises ModelUnfit."""
    version = aliases(folder).champion
    known = versions(folder.parent, folder.name)
    if version not in known:
        raise ModelUnfit(
            f"{folder / ALIASES} names version {version!r} as champion, which is not there; known: "
            f"{', '.join(known) or 'none'}"
        )
    return folder / version


def name_champion(folder: Path, version: str, approved: Approval | None = None) -> Aliases:
    """Let this version decide from the next (re)load on; the one before stays for the way back. Durable.

    The caller has verified the version. A challenger that becomes champion is no challenger any more.
    `approved` tells who wants it so; the trainer of a first version has nobody to name.
    """
    path = folder / ALIASES
    before = aliases(folder) if path.exists() else None
    if before is not None and before.champion == version:
        return before
    challenger = before.challenger if before is not None and before.challenger != version else None
    previous = before.champion if before else None
    return name_aliases(folder, Aliases(champion=version, challenger=challenger, previous=previous, approved=approved))


def name_challenger(folder: Path, version: str | None) -> Aliases:
    """Let this version be asked in shadow, or none. The caller has verified it. Durable. Raises ModelUnfit."""
    return name_aliases(folder, aliases(folder).model_copy(update={"challenger": version}))


def roll_back(folder: Path, approved: Approval | None = None) -> Aliases:
    """Let the version before the champion decide again; after that there is no previous one. Raises NotFound."""
    before = aliases(folder)
    return name_aliases(folder, Aliases(champion=previous(folder), challenger=before.challenger, approved=approved))


def name_aliases(folder: Path, told: Aliases) -> Aliases:
    """Write ``aliases.json`` as a whole, durably."""
    replace_durably(folder / ALIASES, told.model_dump_json(indent=1).encode() + b"\n")
    return told


def previous(folder: Path) -> str:
    """The version before the champion. Raises NotFound where there is none."""
    told = aliases(folder)
    if told.previous is None:
        raise NotFound(f"{folder / ALIASES} names no previous version; promote one by its number instead")
    return told.previous
