"""A round of chaos, as it is recorded."""

from benchmarks.records import Round, Shot

SHOT = Shot(signal="SIGINT", target="group", since="start", delay=1.0, hit=True, at_work=True, exit_code=130)
ROUND = Round(phase="proof", index=3, shots=(SHOT,), starts=2, trials=6, interrupted=1, seconds=9.0, violations=())
