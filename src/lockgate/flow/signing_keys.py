"""Which keys an organisation signs with now: what the policy wants and what the key store has, put together."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.decision.signing import signing_domains
from lockgate.mail.dkim.held import HeldKey, KeyState
from lockgate.mail.dkim.sign import SigningKey
from lockgate.policy.policy import Policy
from lockgate.seams import KeyStore

ALGORITHMS = ("rsa", "ed25519")
"""The algorithms there are, in the order of the signatures."""


class KeyRing:
    """Implements seams.SigningKeys; wired once by the app. `policy` gives the policy of now."""

    def __init__(self, policy: Callable[[], Policy], store: KeyStore) -> None:
        self._policy = policy
        self._store = store
        self._of: tuple[HeldKey, ...] = ()
        self._active: dict[tuple[str, str, str], HeldKey] = {}

    def key_for(self, organisation: str, domain: str) -> SigningKey | None:
        """The active key of this domain, else of the initial or default one. See SigningKeys."""
        found = self.keys_for(organisation, domain)
        return found[0] if found else None

    def keys_for(self, organisation: str, domain: str) -> tuple[SigningKey, ...]:
        """One of each algorithm. See SigningKeys."""
        policy = self._policy()
        names = signing_domains(policy, organisation, domain)
        if not names:
            return ()
        keys = self._store.held()
        if keys is not self._of:
            self._active = _active(keys)
            self._of = keys
        for name in names:
            wanted = policy.organisations[organisation].signing[name].algorithms
            # RSA first: who takes only one key (a seal of ARC is RSA by its definition) takes the first.
            held = [self._active.get((organisation, name, one)) for one in ALGORITHMS if one in wanted]
            found = tuple([self._store.private(key) for key in held if key is not None])
            if found:
                return found
        return ()


def _active(keys: tuple[HeldKey, ...]) -> dict[tuple[str, str, str], HeldKey]:
    """The active keys by organisation, domain and algorithm; where there are two, the later one."""
    return {(key.organisation, key.domain, key.algorithm): key for key in keys if key.state is KeyState.ACTIVE}
