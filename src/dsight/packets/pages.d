/*
 * Where the kernel's memory is, from the descriptions of its pages: struct page (or its other names, struct slab and
 * netmem_ref) of a page, times 64, plus a constant.  Each datagram of ours walks on through the kernel's caches of
 * objects; of a cache with a slab that is part free, the address of a free object in that slab and of the slab's
 * description are known, so the constant is: both tables begin at multiples of 1 GiB.
 */
#pragma D option quiet

struct kmem_cache *cache;
uint64_t begun;

inline struct kmem_cache *pages_next[struct kmem_cache *c] =
	(struct kmem_cache *)((uintptr_t)c->list.next - offsetof(struct kmem_cache, list));
inline struct list_head *pages_partial[struct list_head *head] = head->next == head ? NULL : head->next;
inline uint64_t pages_object[uint64_t slab, uint64_t object] = object == 0 ? 0 : object - (slab << 6) >> 30 << 30;
inline uint64_t pages_slab[struct slab *s] = pages_object[(uint64_t)s, (uint64_t)s->freelist];
inline uint64_t pages_entry[struct list_head *l] = l == NULL ? 0 :
	pages_slab[(struct slab *)((uintptr_t)l - offsetof(struct slab, slab_list))];
inline uint64_t pages_of[struct kmem_cache *c] = pages_entry[pages_partial[&c->node[0]->partial]];

rawtp:::net_dev_queue
/pid == $pid && begun == 0 && args[0]->sk != NULL/
{
	cache = args[0]->sk->__sk_common.skc_prot->slab;
	begun = cache != NULL;
}

