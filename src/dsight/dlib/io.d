/*
 * bufinfo_t, devinfo_t, fileinfo_t: what the io provider's arguments are; fileinfo_t also what fds[] holds.
 */

typedef struct bufinfo {
	int b_flags;
	size_t b_bcount;		/* bytes */
	caddr_t b_addr;
	uint64_t b_lblkno;
	uint64_t b_blkno;		/* 512-byte block on the device */
	size_t b_resid;			/* bytes not transferred */
	size_t b_bufsize;
	caddr_t b_iodone;
	int b_error;
	dev_t b_edev;
} bufinfo_t;

typedef struct devinfo {
	int dev_major;
	int dev_minor;
	int dev_instance;
	string dev_name;
	string dev_statname;
	string dev_pathname;
} devinfo_t;

typedef struct fileinfo {
	string fi_name;
	string fi_dirname;
	string fi_pathname;
	offset_t fi_offset;
	string fi_fs;
	string fi_mount;
	int fi_oflags;			/* O_ as in open(2) */
} fileinfo_t;

inline int B_BUSY = 0x000001;
inline int B_DONE = 0x000002;
inline int B_ERROR = 0x000004;
inline int B_PAGEIO = 0x000010;
inline int B_PHYS = 0x000020;
inline int B_READ = 0x000040;
inline int B_WRITE = 0x000100;
inline int B_ASYNC = 0x000400;

/* The running process's open file of that number; NULL for none. */
inline struct file *fds_file[int fd] =
	curthread->files == NULL || fd < 0 || fd >= curthread->files->fdt->max_fds ? NULL :
	curthread->files->fdt->fd[fd];

/* Sockets, pipes and the like have no path: their file systems cannot be mounted (SB_NOUSER, include/linux/fs.h). */
inline int file_has_path[struct file *F] = (F->f_inode->i_sb->s_flags & 0x80000000) == 0;

translator fileinfo_t < struct file *F > {
	fi_name = F == NULL ? "<none>" : file_has_path[F] ? stringof(F->f_path.dentry->d_name.name) : "<unknown>";
	fi_dirname = F == NULL ? "<none>" : file_has_path[F] ? dirname(d_path(&F->f_path)) : "<unknown>";
	fi_pathname = F == NULL ? "<none>" : file_has_path[F] ? d_path(&F->f_path) : "<unknown>";
	fi_offset = F == NULL ? 0 : F->f_pos;
	fi_fs = F == NULL ? "<none>" : stringof(F->f_inode->i_sb->s_type->name);
	fi_mount = F == NULL ? "<none>" : file_has_path[F] ? d_mountpoint(F->f_path.mnt) : "<unknown>";
	fi_oflags = F == NULL ? 0 : F->f_flags;
};
