"""`vae-gen verify`: a check of the model on this machine, first of its files and then of its results."""

from __future__ import annotations

import json
from dataclasses import asdict

from vae_gen import ModelError, UnavailableError

from . import options
from .output import Console, counted, printable


def verify(
    model: options.Model = None,
    provider: options.Provider = "cpu",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Check the model's files and its results on this machine.

    The SHA-256 of each file must be the one in the manifest, and the graphs must give the values of the golden vectors.
    """
    from vae_gen import find_model
    from vae_gen import verify as run_checks

    console = Console(as_json, quiet)
    folder = find_model(model)
    options.import_onnxruntime()
    checks = run_checks(folder, provider=provider)
    failed = sum(not check.passed for check in checks)
    if as_json:
        print(json.dumps({"command": "verify", "passed": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            mark = "✓" if check.passed else "✗"
            print(printable(f"{mark} {check.name:{width}}  {check.detail}"), flush=True)
    if failed and provider != "cpu" and all(check.passed for check in checks if check.name.startswith("sha256")):
        raise UnavailableError(
            f"expected every check to pass, {failed} of {len(checks)} did not with the execution provider {provider}; "
            "the files are those of the manifest, so leave --provider out"
        )
    if failed:
        raise ModelError(
            f"{folder}: expected every check to pass, {failed} of {len(checks)} did not; "
            "copy or export the model folder again"
        )
    console.message(f"{counted(len(checks), 'check')} passed")
