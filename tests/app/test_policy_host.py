"""What the MTA-STS listener shows: whole chains, also where intermediate certificates lie in a file of their own."""

from __future__ import annotations

from pathlib import Path

from lockgate.app.config import parse_config
from lockgate.app.policy_host import _whole_chains
from lockgate.wire.certificates import joined_chain
from peers.certificates import Authority


def test_intermediates_are_put_behind_the_certificate(tmp_path: Path) -> None:
    (tmp_path / "state" / "run").mkdir(parents=True)
    authority = Authority(tmp_path)
    one, other = authority.issue("mta-sts.contoso.test"), authority.issue("other.test")
    config = parse_config(
        f"""hostname = "mx.contoso.test"
state_directory = "{tmp_path}/state"
policy_directory = "{tmp_path}/policy"
[[certificate]]
chain = "{one.chain}"
key = "{one.key}"
intermediates = "{authority.file}"
[[certificate]]
chain = "{other.chain}"
key = "{other.key}"
""",
        tmp_path / "lockgate.toml",
    )
    (first, key), second = _whole_chains(config)
    assert key == one.key and second == (other.chain, other.key)
    assert first.read_bytes() == joined_chain(one.chain.read_bytes(), authority.file.read_bytes())
    assert first.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    stamp = first.stat().st_mtime_ns
    assert _whole_chains(config)[0][0].stat().st_mtime_ns == stamp, "not written again while nothing changes"
    authority.file.write_text("nothing")
    assert _whole_chains(config)[0][0] == one.chain
