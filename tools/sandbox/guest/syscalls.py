"""System calls that guests may not make, and their numbers."""

# Asking for one of these is never an accident: the process is killed (SIGSYS).
FORBIDDEN = """
    ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp unshare setns mount
    umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr bpf
    perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register init_module finit_module
    delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl keyctl add_key
    request_key name_to_handle_at open_by_handle_at fanotify_init lookup_dcookie settimeofday
    clock_settime clock_adjtime adjtimex sethostname setdomainname syslog vhangup personality iopl
    ioperm modify_ldt nfsservctl quotactl_fd
""".split()  # noqa: SIM905 (words are easier to read)

# These fail, since honest libraries try them and go on. Memory outside any process (System V, memfd, message
# queues) would escape the limits on memory; attributes and access lists on the folders that every guest is
# given would outlive the guest that set them. Watching the interpreter's files, which are the host's, shows
# what others do. Asynchronous contexts are limited in number for the host as a whole. A folder of /proc
# serves as a pidfd, which hides from a filter on process numbers where a signal goes. `sync` waits for the
# host's disks.
DENIED = """
    memfd_create memfd_secret shmget shmat shmctl semget semctl msgget msgctl mq_open mq_unlink
    migrate_pages move_pages mbind set_mempolicy set_mempolicy_home_node get_mempolicy
    landlock_create_ruleset setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid
    setfsgid capset mknod mknodat listen accept accept4 setxattr lsetxattr fsetxattr ioprio_set
    inotify_init inotify_init1 io_setup cachestat pidfd_send_signal process_mrelease get_robust_list
    sync syncfs ustat sysfs uselib
""".split()  # noqa: SIM905

# The only commands allowed, for calls that do many things.
FCNTL = {
    "F_DUPFD": 0, "F_GETFD": 1, "F_SETFD": 2, "F_GETFL": 3, "F_SETFL": 4, "F_GETLK": 5, "F_SETLK": 6,
    "F_SETLKW": 7, "F_OFD_GETLK": 36, "F_OFD_SETLK": 37, "F_OFD_SETLKW": 38, "F_DUPFD_CLOEXEC": 1030,
    "F_SETPIPE_SZ": 1031, "F_GETPIPE_SZ": 1032, "F_GET_SEALS": 1034,
}  # fmt: skip
"""Excluded: owners of a descriptor and their signals (F_SETOWN, F_SETSIG), leases, watching folders."""
IOCTL = {
    "TCGETS": 0x5401, "TIOCGWINSZ": 0x5413, "FIONREAD": 0x541B, "FIONBIO": 0x5421, "FIONCLEX": 0x5450,
    "FIOCLEX": 0x5451, "TCGETS2": 0x802C542A, "FICLONE": 0x40049409, "FICLONERANGE": 0x4020940D,
}  # fmt: skip
"""Excluded: owners of a descriptor (FIOSETOWN, SIOCSPGRP, FIOASYNC), typing into terminals, file flags, which
would outlive a guest, and whatever else the host's drivers and file systems respond to."""

_NUMBERS = {
    "x86_64": """
        ptrace=101 process_vm_readv=310 process_vm_writev=311 process_madvise=440 pidfd_getfd=438
        kcmp=312 unshare=272 setns=308 mount=165 umount2=166 pivot_root=155 chroot=161
        move_mount=429 open_tree=428 fsopen=430 fsconfig=431 fsmount=432 fspick=433
        mount_setattr=442 bpf=321 perf_event_open=298 userfaultfd=323 io_uring_setup=425
        io_uring_enter=426 io_uring_register=427 init_module=175 finit_module=313 delete_module=176
        kexec_load=246 kexec_file_load=320 reboot=169 swapon=167 swapoff=168 acct=163 quotactl=179
        quotactl_fd=443 keyctl=250 add_key=248 request_key=249 name_to_handle_at=303
        open_by_handle_at=304 fanotify_init=300 lookup_dcookie=212 settimeofday=164
        clock_settime=227 clock_adjtime=305 adjtimex=159 sethostname=170 setdomainname=171
        syslog=103 vhangup=153 personality=135 iopl=172 ioperm=173 modify_ldt=154 nfsservctl=180
        memfd_create=319 memfd_secret=447 shmget=29 shmat=30 shmctl=31 semget=64 msgget=68
        mq_open=240 migrate_pages=256 move_pages=279 mbind=237 set_mempolicy=238 get_mempolicy=239
        landlock_create_ruleset=444 setuid=105 setgid=106 setreuid=113 setregid=114 setresuid=117
        setresgid=119 setgroups=116 setfsuid=122 setfsgid=123 capset=126 mknod=133 mknodat=259
        listen=50 accept=43 accept4=288 socket=41 socketpair=53 clone=56 clone3=435 prlimit64=302
        ioctl=16 kill=62 tkill=200 tgkill=234 rt_sigqueueinfo=129 rt_tgsigqueueinfo=297
        pidfd_open=434 connect=42 setxattr=188 lsetxattr=189 fsetxattr=190 ioprio_set=251
        setpriority=141 sched_setparam=142 sched_setscheduler=144 sched_setaffinity=203
        sched_setattr=314 inotify_init=253 inotify_init1=294 fcntl=72 semctl=66 msgctl=71
        mq_unlink=241 set_mempolicy_home_node=450 io_setup=206 cachestat=451 pidfd_send_signal=424
        process_mrelease=448 get_robust_list=274 sync=162 syncfs=306 ustat=136 sysfs=139 uselib=134
        prctl=157
    """,
    "aarch64": """
        ptrace=117 process_vm_readv=270 process_vm_writev=271 process_madvise=440 pidfd_getfd=438
        kcmp=272 unshare=97 setns=268 mount=40 umount2=39 pivot_root=41 chroot=51 move_mount=429
        open_tree=428 fsopen=430 fsconfig=431 fsmount=432 fspick=433 mount_setattr=442 bpf=280
        perf_event_open=241 userfaultfd=282 io_uring_setup=425 io_uring_enter=426
        io_uring_register=427 init_module=105 finit_module=273 delete_module=106 kexec_load=104
        kexec_file_load=294 reboot=142 swapon=224 swapoff=225 acct=89 quotactl=60 quotactl_fd=443
        keyctl=219 add_key=217 request_key=218 name_to_handle_at=264 open_by_handle_at=265
        fanotify_init=262 lookup_dcookie=18 settimeofday=170 clock_settime=112 clock_adjtime=266
        adjtimex=171 sethostname=161 setdomainname=162 syslog=116 vhangup=58 personality=92
        nfsservctl=42 memfd_create=279 memfd_secret=447 shmget=194 shmat=196 shmctl=195 semget=190
        msgget=186 mq_open=180 migrate_pages=238 move_pages=239 mbind=235 set_mempolicy=237
        get_mempolicy=236 landlock_create_ruleset=444 setuid=146 setgid=144 setreuid=145
        setregid=143 setresuid=147 setresgid=149 setgroups=159 setfsuid=151 setfsgid=152 capset=91
        mknodat=33 listen=201 accept=202 accept4=242 socket=198 socketpair=199 clone=220 clone3=435
        prlimit64=261 ioctl=29 kill=129 tkill=130 tgkill=131 rt_sigqueueinfo=138
        rt_tgsigqueueinfo=240 pidfd_open=434 connect=203 setxattr=5 lsetxattr=6 fsetxattr=7
        ioprio_set=30 setpriority=140 sched_setparam=118 sched_setscheduler=119
        sched_setaffinity=122 sched_setattr=274 inotify_init1=26 fcntl=25 semctl=191 msgctl=187
        mq_unlink=181 set_mempolicy_home_node=450 io_setup=0 cachestat=451 pidfd_send_signal=424
        process_mrelease=448 get_robust_list=100 sync=81 syncfs=267 prctl=167
    """,
}


def numbers(machine: str) -> dict[str, int]:
    """The numbers of those calls that exist on a machine (`x86_64`, `aarch64`)."""
    pairs = (entry.split("=") for entry in _NUMBERS[machine].split())
    return {name: int(number) for name, number in pairs}
