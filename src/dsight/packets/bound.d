/* Whether any TCP socket has a port, by the table of those (struct inet_hashinfo, bhash; Linux 5.19): where none has, a
   segment is for none.  Six of a chain are looked at; 1 is said where it has more. */
inline struct inet_bind_bucket *snoop_bucket[struct hlist_node *n] =
	(struct inet_bind_bucket *)((uintptr_t)n - offsetof(struct inet_bind_bucket, node));
inline int snoop_holds[struct inet_bind_bucket *b, struct net *net, uint16_t port] =
	b->port == port && b->ib_net.net == net;
inline int snoop_bound_1[struct hlist_node *n, struct net *net, uint16_t port] = n != NULL;
inline int snoop_bound_2[struct hlist_node *n, struct net *net, uint16_t port] = n != NULL &&
	(snoop_holds[snoop_bucket[n], net, port] || snoop_bound_1[n->next, net, port]);
inline int snoop_bound_3[struct hlist_node *n, struct net *net, uint16_t port] = n != NULL &&
	(snoop_holds[snoop_bucket[n], net, port] || snoop_bound_2[n->next, net, port]);
inline int snoop_bound_4[struct hlist_node *n, struct net *net, uint16_t port] = n != NULL &&
	(snoop_holds[snoop_bucket[n], net, port] || snoop_bound_3[n->next, net, port]);
inline int snoop_bound_5[struct hlist_node *n, struct net *net, uint16_t port] = n != NULL &&
	(snoop_holds[snoop_bucket[n], net, port] || snoop_bound_4[n->next, net, port]);
inline int snoop_bound_6[struct hlist_node *n, struct net *net, uint16_t port] = n != NULL &&
	(snoop_holds[snoop_bucket[n], net, port] || snoop_bound_5[n->next, net, port]);
inline int snoop_bound_7[struct hlist_node *n, struct net *net, uint16_t port] = n != NULL &&
	(snoop_holds[snoop_bucket[n], net, port] || snoop_bound_6[n->next, net, port]);
inline struct hlist_node *snoop_chain[struct inet_hashinfo *table, uint32_t hash] =
	table->bhash[hash & (table->bhash_size - 1)].chain.first;
inline int snoop_bound[struct net *net, uint16_t port] =
	snoop_bound_7[snoop_chain[net->ipv4.tcp_death_row.hashinfo, port + net->hash_mix], net, port];

ip:::receive
/this->take && this->local && this->proto == 6 && this->th != NULL && this->sk == NULL && this->pid == 0/
{
	this->pid = snoop_bound[this->skb->dev->nd_net.net, ntohs(((struct tcphdr *)this->th)->dest)] ? 0 : -2;
}
