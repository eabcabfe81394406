/* The UDP socket that sent what an ICMP error quotes: by its port, in the namespace's table (struct udp_table, Linux
   6.2); connected to that remote port or to none.  Four are looked at. */
inline int snoop_is[struct sock *sk, struct net *net, uint16_t port, uint16_t remote] =
	sk->__sk_common.skc_num == port && sk->__sk_common.skc_net.net == net &&
	(sk->__sk_common.skc_dport == 0 || sk->__sk_common.skc_dport == remote);
inline struct sock *snoop_among_1[struct hlist_node *n, struct net *net, uint16_t port, uint16_t remote] =
	n == NULL ? NULL : snoop_is[udp_of_node[n], net, port, remote] ? udp_of_node[n] : NULL;
inline struct sock *snoop_among_2[struct hlist_node *n, struct net *net, uint16_t port, uint16_t remote] =
	n == NULL ? NULL : snoop_is[udp_of_node[n], net, port, remote] ? udp_of_node[n] :
	snoop_among_1[n->next, net, port, remote];
inline struct sock *snoop_among_3[struct hlist_node *n, struct net *net, uint16_t port, uint16_t remote] =
	n == NULL ? NULL : snoop_is[udp_of_node[n], net, port, remote] ? udp_of_node[n] :
	snoop_among_2[n->next, net, port, remote];
inline struct sock *snoop_among_4[struct hlist_node *n, struct net *net, uint16_t port, uint16_t remote] =
	n == NULL ? NULL : snoop_is[udp_of_node[n], net, port, remote] ? udp_of_node[n] :
	snoop_among_3[n->next, net, port, remote];

ip:::receive
/this->take && this->quoted != NULL && this->qkind == 17/
{
	this->sk = snoop_among_4[udp_bucket[this->skb->dev->nd_net.net, ntohs(*(uint16_t *)this->qth)],
		this->skb->dev->nd_net.net, ntohs(*(uint16_t *)this->qth), *(uint16_t *)(this->qth + 2)];
}

ip:::receive
/this->take && this->quoted != NULL && this->qkind == 17 && this->sk != NULL/
{
	this->pid = sock_pid[this->sk];
	this->inode = this->pid == 0 ? snoop_ino[sock_file[this->sk]] : 0;
}
