/*
 * Parts of memfs.c that memfs_cut.c builds states from.
 */
#pragma once

#include "memfs.h"

struct mf_page *mf_page_new(int fill);
struct mf_page *mf_content_get(const struct mf_content *c, u64 idx);
/* Takes a reference of its own; NULL makes a hole. */
void mf_content_set(struct mf_content *c, u64 idx, struct mf_page *page);
void mf_content_copy(struct mf_content *to, const struct mf_content *from);
void mf_dir_bind(struct mf_dir *d, const char *name, u32 node);
void mf_dir_drop(struct mf_dir *d, const char *name);
void mf_dir_copy(struct mf_dir *to, const struct mf_dir *from);
void mf_dir_apply(struct mf_dir *d, const struct mf_dir_change *c);
struct mf_node *mf_node_at(struct memfs *fs, u32 node);
