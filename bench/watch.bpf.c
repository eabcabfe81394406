// watch.bpf.c - what the watcher's D program (src/dsight/connections/*.d) does on the way of a connect(2) of TCP, as
// one would write it in C: the same tests in the same places, the same records, the same state kept.  bench/watch_cost.py.
//
// Not here: what this way does not come by (io_uring, retransmits, ICMP sent, the first datagram of UDP).
//
// Kernel memory is read directly everywhere: by the types of tp_btf arguments and of bpf_get_current_task_btf(), and
// where all that is known is an address, by bpf_rdonly_cast() to a type, which costs a move (ID_*: its BTF id).
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define DEPTH 6			// ancestors recorded
#define EFAULT 14
#define EALREADY 114
#define EINPROGRESS 115
#define S_IFMT 0xf000
#define S_IFSOCK 0xc000
#define NEW_AFTER 27		// 2^27 ns: who calls is recorded again

extern void *bpf_rdonly_cast(const void *at, u32 type) __ksym;
#define AS(type, id, at) ((struct type *)bpf_rdonly_cast((const void *)(at), id))
#define SOCK(at) AS(sock, ID_SOCK, at)
#define INET(at) AS(inet_sock, ID_INET_SOCK, at)
#define TCP(at) AS(tcp_sock, ID_TCP_SOCK, at)

struct thread { u64 sock, entered, syn; u32 undone; };	// inside connect(2); as call.d's self->
struct ends { u32 local, remote; struct in6_addr local6, remote6; u16 lport, rport; };

struct parent { u32 tgid; u64 comm[2]; };
struct who {
	u32 tag; u64 time; u32 tid, pid; u64 comm[2]; u32 uid; u64 start, cgroup; u32 flags, bits;
	struct parent parents[DEPTH];
};
struct args { u32 tag, tid; int size; char text[512]; };
struct enter { u32 tag; u64 time; u32 tid; int fd; u64 sk; u32 state; u16 protocol, family; u32 flags, netns; };
struct peer { u32 tag, tid; int size; u8 address[28]; };
struct leave { u32 tag; u64 time; u32 tid; int result; };
struct syn_sent { u32 tag; u64 time; u32 tid; u64 sk; u16 family; struct ends ends; u32 netns, flags; };
struct changed { u32 tag; u64 time, sk, mark; int old, new, err, soft; u32 flags; u16 family, lport; u32 local; struct in6_addr local6; };
struct sock_error { u32 tag; u64 time, sk; int err, icmp; };
struct connect {
	u32 tag; u64 entered; u32 tid; u64 sk; u16 family; struct ends ends;
	u32 netns, pid, uid; u64 comm[2]; u16 protocol; u32 flags;
};
struct failed {
	u32 tag; u64 entered, time; u32 tid, pid; int result; u64 sk; u16 protocol, family; u32 flags, netns, uid;
	u64 comm[2]; int size; u8 address[28];
};
struct returned { u32 tag; u64 time, syn, entered; int result; u8 state; };
struct udp_error { u32 tag; u64 time, sk; int err; u16 family; struct ends ends; };
struct ended {
	u32 tag; u64 time, sk; int was, err; u64 sent, again, received, flags; u32 retrans, srtt; u64 acked; u16 lport, rport;
};
struct drop { u32 tag; u64 time, sk; u32 reason, answer, six; u8 ip[40], tcp[4]; u32 netns; };

#define HASH(name, n, k, v) \
	struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, n); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, k); __type(value, v); } name SEC(".maps")
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 25); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } lost SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } attempts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1024); __type(key, u32); __type(value, u64); } known SEC(".maps");
HASH(threads, 16384, u64, struct thread);
HASH(watched, 65536, u64, u64);
HASH(udp_new, 16384, u64, u32);

static __always_inline void bump(void *map)
{
	u32 zero = 0;
	u64 *n = bpf_map_lookup_elem(map, &zero);
	if (n)
		++*n;
}

static __always_inline void *reserve(u64 size)
{
	void *e = bpf_ringbuf_reserve(&ring, size, 0);
	if (!e)
		bump(&lost);
	return e;
}
#define SUBMIT(e) bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP)

static __always_inline void name_of(u64 to[2], const struct task_struct *task)
{
	const u64 *comm = (const u64 *)task->comm;	// aligned to 8
	to[0] = comm[0];
	to[1] = comm[1];
}

static __always_inline u32 at_most(u32 n, u32 most)	// so that the verifier sees it
{
	asm volatile("" : "+r"(n));
	return n < most ? n : most;
}

static __always_inline void ends_of(struct ends *to, const struct sock *sk)
{
	to->local = sk->__sk_common.skc_rcv_saddr;
	to->remote = sk->__sk_common.skc_daddr;
	to->local6 = sk->__sk_common.skc_v6_rcv_saddr;
	to->remote6 = sk->__sk_common.skc_v6_daddr;
	to->lport = INET(sk)->inet_sport;
	to->rport = sk->__sk_common.skc_dport;
}

// --- who is running

static __always_inline u64 sign_of(struct task_struct *task, u32 tid, u32 uid, u64 now)
{
	struct task_struct *leader = task->group_leader;
	u64 *comm = (u64 *)leader->comm, sign;
	sign = ((tid * 31 + leader->start_boottime) * 31 + task->self_exec_id) * 31 + uid;
	sign = ((sign * 31 + comm[0]) * 31 + comm[1]) * 31 + task->real_parent->tgid;
	return ((sign * 31 + task->cgroups->dfl_cgrp->kn->id) * 31 + (now >> NEW_AFTER)) * 2 + 1;
}

static __always_inline int is_news(struct task_struct *task, u32 tid, u32 uid, u64 now)
{
	u64 sign = sign_of(task, tid, uid, now), *was;
	u32 slot = tid & 1023;
	was = bpf_map_lookup_elem(&known, &slot);
	if (!was || *was == sign)
		return 0;
	*was = sign;
	return 1;
}

static __always_inline void tell_who(struct task_struct *task, u64 id, u32 uid, u64 now)
{
	struct task_struct *leader = task->group_leader, *p = task;
	struct who *e = reserve(sizeof(*e));
	struct args *a;
	struct mm_struct *mm;
	u64 from;
	if (e) {
		e->tag = 1;
		e->time = now;
		e->tid = id;
		e->pid = id >> 32;
		name_of(e->comm, leader);
		e->uid = uid;
		e->start = leader->start_boottime;
		e->cgroup = task->cgroups->dfl_cgrp->kn->id;
		e->flags = task->flags;
		e->bits = (task->io_uring != 0) | ((task->thread_info.status & 2) != 0) << 1;
#pragma unroll
		for (int i = 0; i < DEPTH; i++) {
			p = p->real_parent;
			e->parents[i].tgid = p->tgid;
			name_of(e->parents[i].comm, p->group_leader);
		}
		SUBMIT(e);
	}
	mm = task->mm;
	if (!mm)
		return;
	a = reserve(sizeof(*a));
	if (a) {
		from = mm->arg_start;
		a->tag = 2;
		a->tid = id;
		a->size = mm->arg_end - from;
		bpf_probe_read_user(a->text, at_most(a->size, 512), (void *)from);
		SUBMIT(a);
	}
}

// --- connect(2) is called

struct sys_enter { u64 common; s64 nr; u64 fd, address, size; };
struct sys_exit { u64 common; s64 nr; s64 ret; };

static __always_inline void tell_other(struct sys_enter *ctx, u64 id, u64 at, u64 now)	// not TCP
{
	struct peer *p;
	if (at > 1) {
		struct sock *sk = SOCK(at);
		struct enter *e = reserve(sizeof(*e));
		if (e) {
			struct socket *socket = sk->sk_socket;
			e->tag = 3;
			e->time = now;
			e->tid = id;
			e->fd = ctx->fd;
			e->sk = at;
			e->state = socket->state;
			e->protocol = sk->sk_protocol;
			e->family = sk->__sk_common.skc_family;
			e->flags = socket->file->f_flags;
			e->netns = sk->__sk_common.skc_net.net->ns.inum;
			SUBMIT(e);
		}
	}
	p = reserve(sizeof(*p));
	if (p) {
		u32 size = ctx->size;
		p->tag = 4;
		p->tid = id;
		p->size = size;
		bpf_probe_read_user(p->address, at_most(size, 28), (void *)ctx->address);
		SUBMIT(p);
	}
}

SEC("tracepoint/syscalls/sys_enter_connect") int enter(struct sys_enter *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = task->files->fdt;
	struct thread t = {};
	struct socket *socket = 0;
	u32 fd = ctx->fd;
	u16 protocol = 0;
	u64 id, one = 1;

	if (fd < table->max_fds) {
		struct file *file = AS(file, ID_FILE, AS(hlist_head, ID_HLIST_HEAD, table->fd + fd)->first);
		if (file && (file->f_inode->i_mode & S_IFMT) == S_IFSOCK)
			socket = AS(socket, ID_SOCKET, file->private_data);
	}
	id = bpf_get_current_pid_tgid();
	t.sock = 1;
	if (socket && socket->sk) {
		struct sock *sk = socket->sk;
		protocol = sk->sk_protocol;
		t.sock = (u64)sk;
		if (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP) {
			u16 family = sk->__sk_common.skc_family;
			if (family == 1 || family == 15 || family == 16 || family == 17 || family == 38 || family == 44)
				t.sock = 0;
		} else if (socket->state == SS_CONNECTING) {
			t.sock = 0;
		}
	}
	if (!t.sock) {
		bpf_map_delete_elem(&threads, &id);
		return 0;
	}
	if (t.sock == 1 || protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP) {
		t.entered = bpf_ktime_get_ns();
		bpf_map_update_elem(&threads, &id, &t, BPF_ANY);
		return 0;
	}
	bpf_map_update_elem(&threads, &id, &t, BPF_ANY);
	one = bpf_ktime_get_ns();
	tell_who(task, id, bpf_get_current_uid_gid(), one);
	tell_other(ctx, id, t.sock, one);
	one = 1;
	if (protocol == IPPROTO_UDP)
		bpf_map_update_elem(&udp_new, &t.sock, &one, BPF_ANY);
	return 0;
}

// --- its socket changes its state

static __always_inline void tell_connect(const struct sock *sk, struct thread *t, struct task_struct *task, u64 id, u32 uid, u64 mark)
{
	struct sock *called = SOCK(t->sock);
	struct connect *e = reserve(sizeof(*e));
	if (!e)
		return;
	e->tag = 14;
	e->entered = mark;
	e->tid = id;
	e->sk = (u64)sk;
	e->family = sk->__sk_common.skc_family;
	ends_of(&e->ends, sk);
	e->netns = sk->__sk_common.skc_net.net->ns.inum;
	e->pid = id >> 32;
	e->uid = uid;
	name_of(e->comm, task->group_leader);
	e->protocol = called->sk_protocol;
	e->flags = called->sk_socket->file->f_flags;
	SUBMIT(e);
}

static __always_inline void tell_syn_sent(const struct sock *sk, u32 tid, u64 mark)
{
	struct tcp_sock *tp = TCP(sk);
	struct syn_sent *e = reserve(sizeof(*e));
	if (!e)
		return;
	e->tag = 6;
	e->time = mark;
	e->tid = tid;
	e->sk = (u64)sk;
	e->family = sk->__sk_common.skc_family;
	ends_of(&e->ends, sk);
	e->netns = sk->__sk_common.skc_net.net->ns.inum;
	e->flags = (tp->fastopen_req != 0) | tp->is_mptcp << 1;
	SUBMIT(e);
}

static __always_inline void tell_state(const struct sock *sk, int old, int new, u64 mark, u64 syn)
{
	struct changed *e = reserve(sizeof(*e));
	if (!e)
		return;
	e->tag = 7;
	e->time = bpf_ktime_get_ns();
	e->sk = (u64)sk;
	e->mark = mark;
	e->old = old;
	e->new = new;
	e->err = sk->sk_err;
	e->soft = sk->sk_err_soft;
	e->flags = (TCP(sk)->segs_in != 0) | (syn == (u64)sk) << 1;
	e->family = sk->__sk_common.skc_family;
	e->local = sk->__sk_common.skc_rcv_saddr;
	e->local6 = sk->__sk_common.skc_v6_rcv_saddr;
	e->lport = INET(sk)->inet_sport;
	SUBMIT(e);
}

static __always_inline void syn_leaves(const struct sock *sk, u64 key)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), since;
	struct thread *t = bpf_map_lookup_elem(&threads, &id);
	struct task_struct *task = bpf_get_current_task_btf();
	int called = t && t->entered && !t->syn;
	u32 uid = bpf_get_current_uid_gid();

	if (t && t->sock && !t->entered)
		return;		// connect(2) of another protocol: none of ours
	since = called ? t->entered : now;
	bpf_map_update_elem(&watched, &key, &since, BPF_ANY);
	bump(&attempts);
	if (called) {
		if (is_news(task, id, uid, now))
			tell_who(task, id, uid, now);
		tell_connect(sk, t, task, id, uid, since);
		t->syn = key;
	} else {
		tell_who(task, id, uid, now);
		tell_syn_sent(sk, id, since);
	}
}

SEC("tp_btf/inet_sock_set_state") int BPF_PROG(set_state, const struct sock *sk, int old, int new)
{
	u64 key = (u64)sk, id, *mark, since, syn;
	struct thread *t;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (new == TCP_SYN_SENT)
		syn_leaves(sk, key);
	if (old != TCP_SYN_SENT && old != TCP_SYN_RECV)
		return 0;
	mark = bpf_map_lookup_elem(&watched, &key);
	if (!mark)
		return 0;
	if (old == TCP_SYN_SENT || sk->sk_socket) {
		since = *mark;
		id = bpf_get_current_pid_tgid();
		t = bpf_map_lookup_elem(&threads, &id);
		syn = t ? t->syn : 0;
		tell_state(sk, old, new, since, syn);
		if (t && syn == key && old == TCP_SYN_SENT && new == TCP_CLOSE && !sk->sk_err)
			t->undone = 1;
	}
	if (old == TCP_SYN_RECV || new != TCP_SYN_RECV)
		bpf_map_delete_elem(&watched, &key);
	return 0;
}

// --- connect(2) returns

static __always_inline void tell_failed(struct thread *t, u64 id, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	u64 now = bpf_ktime_get_ns();
	u32 uid = bpf_get_current_uid_gid(), size = regs->dx;
	struct failed *e;

	bump(&attempts);
	if (is_news(task, id, uid, now))
		tell_who(task, id, uid, now);
	e = reserve(sizeof(*e));
	if (!e)
		return;
	__builtin_memset(e, 0, sizeof(*e));
	e->tag = 15;
	e->entered = t->entered;
	e->time = now;
	e->tid = id;
	e->pid = id >> 32;
	e->result = ret;
	if (t->sock > 1) {
		struct sock *sk = SOCK(t->sock);
		e->sk = t->sock;
		e->protocol = sk->sk_protocol;
		e->family = sk->__sk_common.skc_family;
		e->flags = sk->sk_socket->file->f_flags;
		e->netns = sk->__sk_common.skc_net.net->ns.inum;
	} else {
		e->netns = task->nsproxy->net_ns->ns.inum;
	}
	e->uid = uid;
	name_of(e->comm, task->group_leader);
	e->size = size = ret == -EFAULT || size > 128 ? 0 : size;
	bpf_probe_read_user(e->address, at_most(size, 28), (void *)regs->si);
	SUBMIT(e);
}

static __always_inline void tell_returned(struct thread *t, int ret)
{
	u64 syn = t->syn, *mark = bpf_map_lookup_elem(&watched, &syn);
	struct returned *e;
	if (!mark && !t->undone)
		return;
	e = reserve(sizeof(*e));
	if (e) {
		e->tag = 16;
		e->time = bpf_ktime_get_ns();
		e->syn = syn;
		e->entered = t->entered;
		e->result = ret;
		e->state = SOCK(syn)->__sk_common.skc_state;
		SUBMIT(e);
	}
	if (mark && SOCK(syn)->__sk_common.skc_state != TCP_SYN_SENT)
		bpf_map_delete_elem(&watched, &syn);
}

SEC("tracepoint/syscalls/sys_exit_connect") int leave(struct sys_exit *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	struct thread *t = bpf_map_lookup_elem(&threads, &id);
	int ret = ctx->ret, busy = ret == -EINPROGRESS || ret == -EALREADY;

	if (!t)
		return 0;
	if (!t->entered) {
		struct leave *e = reserve(sizeof(*e));
		if (e) {
			e->tag = 5;
			e->time = bpf_ktime_get_ns();
			e->tid = id;
			e->result = ret;
			SUBMIT(e);
		}
	} else if (!busy) {
		if (t->syn)
			tell_returned(t, ret);
		else if (ret)
			tell_failed(t, id, ret);
	}
	bpf_map_delete_elem(&threads, &id);
	return 0;
}

// --- a socket has an error

static __always_inline void tell_error(const struct sock *sk, int err, int icmp)
{
	struct sock_error *e = reserve(sizeof(*e));
	if (!e)
		return;
	e->tag = 8;
	e->time = bpf_ktime_get_ns();
	e->sk = (u64)sk;
	e->err = err;
	e->icmp = icmp;
	SUBMIT(e);
}

SEC("tp_btf/inet_sk_error_report") int BPF_PROG(error_report, const struct sock *sk)
{
	u64 key = (u64)sk;
	int err;

	if (sk->sk_protocol == IPPROTO_TCP && sk->__sk_common.skc_state == TCP_SYN_SENT) {
		err = sk->sk_err;
		if ((!err && !sk->sk_error_queue.qlen) || !bpf_map_lookup_elem(&watched, &key))
			return 0;
		if (err) {
			tell_error(sk, err, 0);
		} else {
			struct sock_exterr_skb *x = AS(sock_exterr_skb, ID_SOCK_EXTERR_SKB, sk->sk_error_queue.prev->cb);
			u8 origin = x->ee.ee_origin;
			tell_error(sk, 0, origin == 2 || origin == 3 ? x->ee.ee_errno : 0);
		}
	} else if (sk->sk_protocol == IPPROTO_UDP) {
		struct udp_error *e;
		err = sk->sk_err;
		if (!err || !sk->__sk_common.skc_dport)
			return 0;
		e = reserve(sizeof(*e));
		if (!e)
			return 0;
		e->tag = 20;
		e->time = bpf_ktime_get_ns();
		e->sk = key;
		e->err = err;
		e->family = sk->__sk_common.skc_family;
		ends_of(&e->ends, sk);
		SUBMIT(e);
	}
	return 0;
}

// --- a packet is dropped

static __always_inline u32 reason_of(const struct sk_buff *skb, int reason)
{
	switch (reason) {
	case SKB_DROP_REASON_NEIGH_FAILED: return 1;
	case SKB_DROP_REASON_NETFILTER_DROP: return 2;
	case SKB_DROP_REASON_BPF_CGROUP_EGRESS: return 3;
	case SKB_DROP_REASON_TC_EGRESS: case SKB_DROP_REASON_TC_INGRESS: return 4;
	case SKB_DROP_REASON_XDP: return 5;
	case SKB_DROP_REASON_IP_RPFILTER: return 6;
	case SKB_DROP_REASON_XFRM_POLICY: return 7;
	case SKB_DROP_REASON_NOT_SPECIFIED:
		return skb->protocol == 0xdd86 && skb->sk && skb->sk->__sk_common.skc_state == TCP_SYN_SENT ? 8 : 0;
	}
	return 0;
}

SEC("tp_btf/kfree_skb") int BPF_PROG(dropped, struct sk_buff *skb, void *location, int reason)
{
	u16 protocol = skb->protocol;
	u8 *ip, *th, next, flags;
	struct net_device *dev;
	struct sock *sk;
	struct drop *e;
	u32 why;
	int six;

	if (protocol != 0x0008 && protocol != 0xdd86)
		return 0;
	why = reason_of(skb, reason);
	if (!why)
		return 0;
	six = protocol == 0xdd86;
	ip = skb->head + skb->network_header;
	th = skb->head + skb->transport_header;
	bpf_probe_read_kernel(&next, 1, ip + (six ? 6 : 9));
	if (next != IPPROTO_TCP)
		return 0;
	bpf_probe_read_kernel(&flags, 1, th + 13);
	flags &= 0x12;
	dev = skb->dev;
	sk = skb->sk;
	if (flags != 0x12 && (flags != 2 || (!sk && (!dev || (!(dev->flags & 8) && !dev->rtnl_link_ops)))))
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	e->tag = 42;
	e->time = bpf_ktime_get_ns();
	e->sk = flags == 2 ? (u64)sk : 0;
	e->reason = why;
	e->answer = flags == 0x12;
	e->six = six;
	bpf_probe_read_kernel(e->ip, sizeof(e->ip), ip);
	bpf_probe_read_kernel(e->tcp, sizeof(e->tcp), th);
	e->netns = dev ? dev->nd_net.net->ns.inum : sk ? sk->__sk_common.skc_net.net->ns.inum : 0;
	SUBMIT(e);
	return 0;
}

// --- a reset comes

SEC("tp_btf/tcp_receive_reset") int BPF_PROG(reset, struct sock *sk)
{
	struct tcp_sock *tp = TCP(sk);
	int was = sk->__sk_common.skc_state;
	u64 flags = sk->__sk_common.skc_flags, received = tp->bytes_received;
	struct ended *e;

	if (received != (flags >> 1 & 1) || (was != TCP_ESTABLISHED && was != TCP_CLOSE_WAIT))
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	e->tag = 40;
	e->time = bpf_ktime_get_ns();
	e->sk = (u64)sk;
	e->was = was;
	e->err = 104;
	e->sent = tp->bytes_sent;
	e->again = tp->bytes_retrans;
	e->received = received;
	e->flags = flags;
	e->retrans = tp->total_retrans;
	e->srtt = tp->srtt_us;
	e->acked = tp->bytes_acked + tp->snd_nxt - tp->snd_una;
	e->lport = INET(sk)->inet_sport;
	e->rport = sk->__sk_common.skc_dport;
	SUBMIT(e);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
