# SPDX-License-Identifier: BSD-2-Clause
#
# make            builds everything into build/ (no root)
# make demo       the main job on real traffic between namespaces (root)
# make test       all tests (root; without it, those that need none)
# make bench      tandem next to the kernel's sockets (root)
# make help       the other targets

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
B ?= build
CC ?= gcc
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
ARCH_INC := /usr/include/$(shell $(CC) -print-multiarch)

ifeq ($(origin CC),default)
CC := gcc
endif

SAN ?=
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wundef -Wvla
ALL_CFLAGS := -std=gnu11 $(CFLAGS) $(WARN) $(SAN) -I. -I$(B) -fPIC -fno-strict-aliasing \
	-DTANDEM_VERSION='"$(VERSION)"' -D_GNU_SOURCE -pthread -MMD -MP
LDLIBS_IO := -lbpf -lmnl -lpthread
LDFLAGS_ALL := $(SAN) $(LDFLAGS) -pthread

# ---- sources, by layer (DESIGN: dependencies point one way) ----
CORE_SRC := $(wildcard user/core/*.c)
IO_SRC := $(wildcard user/io/*.c)
DAEMON_SRC := $(wildcard user/daemon/*.c)
LIB_SRC := $(wildcard user/lib/*.c)
CLI_SRC := $(wildcard user/cli/*.c)
PRELOAD_SRC := $(wildcard user/preload/*.c)
obj = $(patsubst %.c,$(B)/%.o,$(1))

CORE_A := $(B)/libcore.a
IO_A := $(B)/libio.a
DAEMON_A := $(B)/libdaemon.a
SKEL := $(B)/bpf/tandem.skel.h $(B)/bpf/probe.skel.h

PROGS := $(B)/tandem $(B)/tandemd
TOOLS := $(patsubst tools/%.c,$(B)/tools/%,$(wildcard tools/*.c))
UNIT := $(patsubst selftests/unit/%.c,$(B)/selftests/unit/%,$(wildcard selftests/unit/test_*.c))
APP := $(patsubst selftests/app/%.c,$(B)/selftests/app/%,$(wildcard selftests/app/*.c))
BPFTEST := $(patsubst selftests/bpf/%.c,$(B)/selftests/bpf/%,$(wildcard selftests/bpf/test_*.c))
SIM := $(B)/selftests/sim/sim
FUZZ := $(patsubst selftests/fuzz/%.c,$(B)/selftests/fuzz/%,$(wildcard selftests/fuzz/fuzz_*.c))

.PHONY: all
all: $(PROGS) $(B)/libtandem.so $(B)/libtandem.a $(B)/libtandem-preload.so $(B)/tandem.pc $(TOOLS)

# ---- BPF ----
$(B)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(CLANG) -O2 -g -target bpf -ffreestanding -mcpu=v3 -Wall -Wextra -Werror -I. \
		-idirafter $(ARCH_INC) -MMD -MP -MF $(@:.o=.d) -c $< -o $@

$(B)/bpf/%.skel.h: $(B)/bpf/%.bpf.o
	$(BPFTOOL) gen skeleton $< name $*_bpf > $@

# ---- objects ----
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(call obj,$(IO_SRC)): | $(SKEL)

# Nothing of these is to be replaced from outside: calls within a file can be inlined.
$(call obj,$(CORE_SRC) $(IO_SRC)): ALL_CFLAGS += -fvisibility=hidden

$(CORE_A): $(call obj,$(CORE_SRC))
	rm -f $@ && ar rcs $@ $^
$(IO_A): $(call obj,$(IO_SRC))
	rm -f $@ && ar rcs $@ $^
$(DAEMON_A): $(filter-out %/main.o,$(call obj,$(DAEMON_SRC)))
	rm -f $@ && ar rcs $@ $^

$(B)/tandemd: $(B)/user/daemon/main.o $(DAEMON_A) $(IO_A) $(CORE_A)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS_IO)
$(B)/tandem: $(call obj,$(CLI_SRC)) $(IO_A) $(CORE_A)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS_IO) -ljson-c

# libtandem needs no libbpf: only the parts of io/ that an application uses.
LIB_IO_OBJ := $(patsubst %,$(B)/user/io/%.o,umem shlock memfd xsk port_rx port_tx arena rofile trim)
$(B)/libtandem.so: $(call obj,$(LIB_SRC)) $(LIB_IO_OBJ) $(call obj,$(CORE_SRC)) user/lib/libtandem.map
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,libtandem.so.0 -Wl,--version-script=user/lib/libtandem.map \
		-o $@ $(filter %.o,$^) -lpthread
	ln -sf libtandem.so $(B)/libtandem.so.0
$(B)/libtandem.a: $(call obj,$(LIB_SRC)) $(LIB_IO_OBJ) $(call obj,$(CORE_SRC))
	rm -f $@ && ar rcs $@ $^

# The shim has the library in it, whose calls of libc must not come back to the shim: --wrap.
PRELOAD_WRAP := $(shell sed -n 's/^\tX.[^,]*, \([a-z_0-9]*\),.*/-Wl,--wrap=\1/p' \
	user/preload/calls.h)
$(call obj,$(PRELOAD_SRC)): ALL_CFLAGS += -fvisibility=hidden
$(B)/libtandem-preload.so: $(call obj,$(PRELOAD_SRC)) $(B)/libtandem.a user/preload/calls.h
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-z,now,--exclude-libs,ALL $(PRELOAD_WRAP) -o $@ \
		$(filter %.o,$^) $(B)/libtandem.a -ldl -lpthread

$(B)/tandem.pc: configs/tandem.pc.in Makefile
	@mkdir -p $(@D)
	sed -e 's,@PREFIX@,$(PREFIX),g' -e 's,@VERSION@,$(VERSION),g' $< > $@

$(TOOLS): $(B)/tools/%: $(B)/tools/%.o $(call obj,$(wildcard tools/common/*.c)) $(B)/libtandem.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ -lpthread

# ---- tests ----
# Unit tests may use every layer; each file selftests/unit/test_X.c is one program.
# lib_*.c is what they share, an archive: a program takes of it what it uses.
UNIT_A := $(B)/selftests/unit/lib.a
$(UNIT_A): $(call obj,$(wildcard selftests/unit/lib_*.c))
	rm -f $@ && ar rcs $@ $^
$(B)/selftests/unit/test_ss_filter: $(B)/user/cli/ss_filter.o
$(B)/selftests/unit/%: $(B)/selftests/unit/%.o $(UNIT_A) $(DAEMON_A) $(IO_A) $(B)/libtandem.a $(CORE_A)
	$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS_IO) -lcmocka
$(B)/selftests/bpf/%: $(B)/selftests/bpf/%.o $(IO_A) $(CORE_A)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS_IO) -lcmocka
$(call obj,$(wildcard selftests/bpf/*.c)): | $(SKEL)
# Plain programs: nothing of ours is linked in.
$(APP): $(B)/selftests/app/%: $(B)/selftests/app/%.o
	$(CC) $(LDFLAGS_ALL) -o $@ $<
$(SIM): $(call obj,$(wildcard selftests/sim/*.c)) $(CORE_A)
	$(CC) $(LDFLAGS_ALL) -o $@ $^

# Fuzz targets: fuzz_X.c with what lib_*.c share, clang only (Makefile.targets: FUZZ_BUILD).
FUZZ_A := $(B)/selftests/fuzz/lib.a
$(FUZZ_A): $(call obj,$(wildcard selftests/fuzz/lib_*.c))
	rm -f $@ && ar rcs $@ $^
$(FUZZ): $(B)/selftests/fuzz/%: $(B)/selftests/fuzz/%.o $(FUZZ_A) $(DAEMON_A) $(IO_A) $(CORE_A)
	$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(LDLIBS_IO)

.PHONY: tests-build
tests-build: all $(UNIT) $(BPFTEST) $(SIM) $(APP)

include Makefile.targets
-include $(shell find $(B) -name '*.d' 2>/dev/null)
