/*
 * Packets, each as IP sends or receives it, with the process it belongs to; packets.feed reads the records.
 *
 * packets.script puts the filter in, and the clauses that record: which record a clause leaves is said by the comment
 * in front of it.  A process is told by its id; its name has a record of its own (Name), so that it is known when the
 * process has gone.
 *
 *   this->pid     whose packet it is; 0 where that is not known here, -1 for the kernel's own, -2 for no socket's
 *   this->ours    whether the filter takes that process: 0 no, 1 yes; 2 is for packets.choice to find out, 3 too but for
 *                 its descent, which is right
 */
#pragma D option quiet
#pragma D option strsize=16

int snoop_known[pid_t];			/* processes whose name was recorded: 1; 2 where they have another since */
int snoop_called[pid_t];		/* whether the filter takes it */
int snoop_tree[pid_t];			/* processes of -p and -c, and what they start */
int snoop_user[uint64_t];		/* a TCP socket (struct sock): the process that last sent or received by it */
this int take;
this int ours;
this int pid;
this int local;
this int proto;
this int forwarded;
this int got;
this uint32_t wire;
this uint32_t have;			/* bytes that lie together with the headers; in pages */
this uint32_t part;
this uint32_t inode;
this unsigned char *ip;
this unsigned char *th;
this unsigned char *quoted;		/* of an ICMP error: the packet it is about, its transport's header, its protocol */
this unsigned char *qth;
this int qkind;
this struct sk_buff *skb;
this struct sock *sk;

/*BEGIN*/

/* ---- who uses a TCP socket: who sends or receives by it; until then who connected, or listens (dlib/netowner.d) */

/*USERS*/

inline pid_t snoop_pid[pid_t user, struct sock *sk] = user != 0 ? user : net_pid[sk];
inline pid_t snoop_tcp[struct sock *sk] = snoop_pid[snoop_user[(uint64_t)net_full[sk]], sk];
inline uint32_t snoop_ino[struct file *f] = f == NULL ? 0 : (uint32_t)f->f_inode->i_ino;
inline int snoop_listening[struct net *net, uint32_t address, uint16_t port] =
	net_listener[(uint64_t)net, address, port] != 0 ? net_listener[(uint64_t)net, address, port] :
	net_listener[(uint64_t)net, 0, port];

inline int snoop_fresh[struct sock *sk] =
	ip_sock_whole[sk] && sk->sk_protocol != 6 && sock_pid[sk] == 0;

/* ---- names */

/*NAMES*/

/* Name: a new one, by exec(2) too; whether the filter takes it is asked when it is seen next */
rawtp:::task_rename
/snoop_known[args[0]->tgid] && args[0]->pid == args[0]->tgid/
{
	snoop_known[args[0]->tgid] = 2;
	trace(args[0]->tgid); trace(stringof(args[1]));
}

rawtp:::sched_process_exit
/snoop_known[args[0]->tgid] && args[0]->signal->live.counter == 0/
{
	snoop_known[args[0]->tgid] = 0;
}

/* ---- packets */

/*FRESH FIRST*/

ip:::send, ip:::receive
{
	this->skb = (struct sk_buff *)arg0;
	this->ip = (unsigned char *)arg1;
	this->pid = 0;
	this->inode = 0;
	this->quoted = (unsigned char *)NULL;
	this->ours = 1;
	this->take = 1;
}

/*WHERE*/

ip:::send, ip:::receive
/this->take/
{
	this->proto = pkt_protocol[this->ip];
	this->th = pkt_transport[this->ip];
}

/*WHAT*/

/*FRESH*/

ip:::send
/this->take/
{
	this->sk = (struct sock *)arg2;
	this->got = 0;
	this->local = this->skb->skb_iif == 0 || this->sk != NULL;
	this->forwarded = !this->local;
}

ip:::receive
/this->take/
{
	this->sk = (struct sock *)NULL;
	this->got = 1;
	this->local = pkt_local[this->skb, this->ip];
	this->forwarded = !this->local;
}

/* A socket of TCP is found by its ends (dlib/netsock.d); a connection that is not made yet is its listener's. */
ip:::receive
/this->take && this->local && this->proto == 6 && this->th != NULL && !net_ip_is_v6[this->ip]/
{
	this->sk = (struct sock *)net_sock4[this->skb->dev->nd_net.net, *(uint32_t *)(this->ip + 16),
		*(uint32_t *)(this->ip + 12), ((struct tcphdr *)this->th)->dest, ((struct tcphdr *)this->th)->source];
	this->pid = this->sk != NULL ? 0 : snoop_listening[this->skb->dev->nd_net.net,
		*(uint32_t *)(this->ip + 16), ((struct tcphdr *)this->th)->dest];
}

ip:::receive
/this->take && this->local && this->proto == 6 && this->th != NULL && net_ip_is_v6[this->ip]/
{
	this->sk = (struct sock *)net_sock6[this->skb->dev->nd_net.net, (uint64_t *)(this->ip + 24),
		(uint64_t *)(this->ip + 8), ((struct tcphdr *)this->th)->dest, ((struct tcphdr *)this->th)->source];
	this->pid = this->sk != NULL ? 0 : snoop_listening[this->skb->dev->nd_net.net, 0,
		((struct tcphdr *)this->th)->dest];
}

ip:::send, ip:::receive
/this->take && this->sk == NULL && this->proto == 6 && this->pid > 0/
{
	this->pid = this->pid - 1;
}

/*BOUND*/

/* What answers where there is no socket, and in TIME_WAIT (6), is sent by the kernel's, which is raw (SOCK_RAW, 3). */
inline int snoop_answers[struct sock *sk] = sk->__sk_common.skc_state == 6 ||
	(sk->__sk_common.skc_state != 12 && sk->sk_type == 3);
/* A socket of the kernel's has no file; one that was not accepted yet, or was closed, is no struct socket's either. */
inline pid_t snoop_nobody[struct socket *s] = s == NULL || s->file != NULL ? 0 : -1;
inline pid_t snoop_or[pid_t found, struct sock *sk] = found > 0 ? found : snoop_nobody[sk->sk_socket];

ip:::send, ip:::receive
/this->take && this->proto == 6 && this->sk != NULL/
{
	this->pid = snoop_answers[this->sk] ? -2 : snoop_or[snoop_tcp[this->sk], net_full[this->sk]];
	this->inode = this->pid == 0 ? snoop_ino[sock_file[net_full[this->sk]]] : 0;
}

ip:::send
/this->take && this->local && this->proto == 6 && this->sk == NULL/
{
	this->pid = -2;
}

ip:::send
/this->take && this->proto != 6 && ip_sock_whole[this->sk]/
{
	this->pid = sock_sender[this->sk];
}

ip:::receive
/this->take && this->local && this->proto == 17 && this->th != NULL/
{
	this->sk = UDP_RECEIVER;
	this->pid = this->sk == NULL ? -2 : 0;	/* it may be known that there is none */
	this->sk = (uintptr_t)this->sk > 1 ? this->sk : (struct sock *)NULL;
}

/* Of sockets that nobody was seen using the inode says whose they are. */
ip:::receive
/this->take && this->proto == 17 && this->sk != NULL/
{
	this->pid = sock_receiver[this->sk];
	this->inode = this->pid > 0 ? 0 : snoop_ino[sock_file[this->sk]];
	this->pid = this->pid < 0 && this->inode != 0 ? 0 : this->pid;
}

/* Messages of ICMP and IGMP are for the kernel; errors of ICMP also for the socket that sent what they quote, an echo
   reply for who asked, which packets.owners knows. */
ip:::receive
/this->take && this->local && (this->proto == 1 || this->proto == 58 || this->proto == 2)/
{
	this->pid = -1;
}

ip:::receive
/this->take && this->local && this->th != NULL && (this->proto == 1 ?
	this->th[0] == 3 || this->th[0] == 11 || this->th[0] == 12 : this->proto == 58 && this->th[0] - 1 < 4)/
{
	this->quoted = this->th + 8;
	this->qth = this->proto == 58 ? this->th + 48 : this->th + 8 + ((this->th[8] & 15) << 2);
	this->qkind = this->proto == 58 ? this->quoted[6] : this->quoted[9];
}

ip:::receive
/this->take && this->quoted != NULL && this->qkind == 6/
{
	this->sk = (struct sock *)(this->proto == 58 ?
		net_sock6[this->skb->dev->nd_net.net, (uint64_t *)(this->quoted + 8), (uint64_t *)(this->quoted + 24),
			*(uint16_t *)this->qth, *(uint16_t *)(this->qth + 2)] :
		net_sock4[this->skb->dev->nd_net.net, *(uint32_t *)(this->quoted + 12), *(uint32_t *)(this->quoted + 16),
			*(uint16_t *)this->qth, *(uint16_t *)(this->qth + 2)]);
	this->pid = this->sk != NULL ? snoop_or[snoop_tcp[this->sk], this->sk] : -1;
}

/*QUOTED*/

/*WHOSE*/

ip:::send, ip:::receive
/this->take/
{
	this->wire = pkt_length[this->skb, this->ip];
	this->have = (uint32_t)((uintptr_t)this->skb->head + this->skb->tail - (uintptr_t)this->ip);
	this->have = this->have > this->wire ? this->wire : this->have;
	this->have = this->have > SNAP ? SNAP : this->have;
	this->part = 0;
	this->stamp = timestamp;
}

/*PAGED*/

/*PACKETS*/
