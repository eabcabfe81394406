// request.bpf.c - examples/tcp-connect.d in C: name, address and port where a SYN is sent.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

struct ev { char comm[16]; u32 family; u8 addr[16]; u16 port; };

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } lost SEC(".maps");

SEC("tp_btf/inet_sock_set_state") int BPF_PROG(request, struct sock *sk, int old, int new)
{
	struct ev *e;
	u32 zero = 0;
	u64 *n;

	if (new != TCP_SYN_SENT || old != TCP_CLOSE || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		n = bpf_map_lookup_elem(&lost, &zero);
		if (n)
			++*n;
		return 0;
	}
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->family = sk->__sk_common.skc_family;
	if (e->family == 10) {
		*(struct in6_addr *)e->addr = sk->__sk_common.skc_v6_daddr;
	} else {
		__builtin_memset(e->addr, 0, sizeof(e->addr));
		*(u32 *)e->addr = sk->__sk_common.skc_daddr;
	}
	e->port = bpf_ntohs(sk->__sk_common.skc_dport);
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
