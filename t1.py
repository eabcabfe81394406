import sys

sys.path[:0] = ["/tmp/perf/src"]


print(len([m for m in sys.modules if m.startswith("dsight")]), "re" in sys.modules, file=sys.stderr)
