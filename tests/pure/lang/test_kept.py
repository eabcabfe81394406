"""What the library keeps: variables of its files, and the clauses that fill them."""

from __future__ import annotations

from fakecatalog import checked

KEPT = {
    "kept.d": """
uint64_t asked[uint64_t];
inline uint64_t times = asked[tid];
syscall::connect:entry { asked[tid] = asked[tid] + 1; }
syscall::connect:return { asked[tid] = 0; }
"""
}


def test_a_script_that_uses_the_variable_gets_the_clauses() -> None:
    script = checked("BEGIN { trace(times); } END { trace(asked[1]); }", library=KEPT)
    assert [(c.index, c.kept) for c in script.clauses] == [(0, False), (1, False), (2, True), (3, True)]
    assert [v.name for v in script.variables] == ["asked"]


def test_another_script_does_not() -> None:
    script = checked("BEGIN { trace(1); }", library=KEPT)
    assert len(script.clauses) == 1 and not script.variables


def test_members_used_of_translated_structs_are_noted() -> None:
    library = {
        "conn.d": """typedef struct conn { uint32_t ip_plength; uint32_t unused; } conn_t;
        translator conn_t < struct sock *s > { ip_plength = 1; unused = 2; };"""
    }
    script = checked("tcp:::connect-request /args[2]->ip_plength/ { trace(1); } BEGIN { trace(2); }", library=library)
    assert [c.members for c in script.clauses] == [(("conn", "ip_plength"),), ()]


def test_clauses_whose_probes_the_kernel_does_not_have_are_left_out() -> None:
    library = {"kept.d": "uint64_t seen[uint64_t]; tcp:::no-such-probe /args[0] != NULL/ { seen[1] = pid; }"}
    assert [c.kept for c in checked("BEGIN { trace(seen[1]); }", library=library).clauses] == [False]
