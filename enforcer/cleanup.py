"""Takes away what the daemon left in this network namespace: our tables, our bridge flags."""

from __future__ import annotations

from enforcer import bridges, lock
from enforcer.errors import KernelError
from enforcer.nft.diff import diff
from enforcer.nft.kernel import NftKernel, check_nft
from enforcer.programs import check_all, check_iproute2
from enforcer.ruleset.lower import NOTHING
from enforcer.ruleset.names import TABLES


def clean() -> list[str]:
    """Remove our tables, put bridge flags back; return what was removed, for a person.

    SettingsError while an enforcer runs here, which would make them again at once. KernelError when
    a bridge could not be put back; the tables are gone by then.
    """
    check_all(check_nft, check_iproute2)
    with lock.held():
        return _clean()


def _clean() -> list[str]:
    kernel = NftKernel()
    found = kernel.read(TABLES)
    for transaction in diff(found, NOTHING):
        kernel.apply(transaction)
    if failed := bridges.restore(found):
        raise KernelError("\n".join(failed))
    return [f"table {id_}" for id_ in found.tables]
