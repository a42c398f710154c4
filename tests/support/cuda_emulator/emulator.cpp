// CUDA kernels on the host.
//
// The threads of a block are coroutines. Each runs until it reaches a barrier or ends; then the next one runs. Blocks
// and threads take turns in an order that the caller chooses (forward, reverse, shuffled), so a kernel whose result
// depends on the order gives different bits. A block whose threads do not all reach the same barrier is an error. So is a
// warp whose 32 threads do not all reach the same tensor-core instruction, at which they wait for each other only.
//
// Kernels compiled with -fsanitize=thread, but not linked with its library, call the hooks at the end of this file at
// every memory access. The hooks record the accesses and detect, independently of the values:
//   - an access outside the arrays that the kernel was given, or not aligned to its size;
//   - two threads at the same byte with no barrier between them, one of them writing;
//   - shared memory that is read before this block has written it.
#include "cuda_emulator.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

namespace emulator {

Place here = {{1, 1, 1}};  // not zero, so that it is not stored next to shared memory

namespace {

enum Order { FORWARD, REVERSE, SHUFFLED };  // larger numbers: other shuffles
enum { MOST_THREADS = 1024, WARP = 32, STACK = 1 << 16, MOST_ARRAYS = 256 };

struct Fiber {
    jmp_buf context;
    char* stack;
    unsigned thread;
    int line;           // of the barrier it waits at; 0 when it is free
    bool for_its_warp;  // and not for the whole block
};

struct Array {
    char* start;
    size_t size;
};

Fiber* fibers = (Fiber*)calloc(MOST_THREADS, sizeof(Fiber));
Fiber* running;
jmp_buf scheduler;
ucontext_t creator, created;
void (*run)(void*);
void* launched;
char error[256];
unsigned long long random_state;
unsigned long epoch;  // number of barriers passed so far, over all blocks

Array* arrays = (Array*)calloc(MOST_ARRAYS, sizeof(Array));
int array_count;

struct Fragment {  // one thread's elements of two small matrices
    float a[4], b[2];
};
Fragment fragments[MOST_THREADS / WARP][2][WARP];
unsigned exchanges[MOST_THREADS];  // so far, in this block, by thread

unsigned random_below(unsigned limit) {  // xorshift
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state % limit);
}

void choose_order(unsigned* order, unsigned count, int how) {
    for (unsigned i = 0; i < count; i++) order[i] = how == REVERSE ? count - 1 - i : i;
    for (unsigned i = count; how >= SHUFFLED && i > 1; i--) std::swap(order[i - 1], order[random_below(i)]);
}

dim3 unfolded(unsigned i, dim3 size) { return {i % size.x, i / size.x % size.y, i / size.x / size.y}; }

void note(const char* what, int number) {
    dim3 b = here.block, t = here.thread;
    if (error[0]) return;
    snprintf(error, sizeof error, "%s %d, block (%u, %u, %u), thread (%u, %u, %u)", what, number, b.x, b.y, b.z, t.x,
             t.y, t.z);
}

void to_scheduler() {
    if (!_setjmp(running->context)) _longjmp(scheduler, 1);
}

void fiber_main() {  // fibers are reused
    for (;;) {
        run(launched);
        running->line = 0;
        to_scheduler();
    }
}

void go_on(Fiber* fiber) {  // until its next barrier, or its end
    running = fiber;
    here.thread = unfolded(fiber->thread, here.threads);
    if (_setjmp(scheduler)) return;
    if (fiber->stack) _longjmp(fiber->context, 1);
    fiber->stack = (char*)malloc(STACK);
    getcontext(&created);
    created.uc_stack.ss_sp = fiber->stack;
    created.uc_stack.ss_size = STACK;
    makecontext(&created, fiber_main, 0);
    swapcontext(&creator, &created);
}

void forget_fibers() {  // after an error they are suspended inside the kernel
    for (int i = 0; i < MOST_THREADS; i++) free(fibers[i].stack);
    memset(fibers, 0, MOST_THREADS * sizeof(Fiber));
}

bool all_wait_together(unsigned waiting, unsigned count) {
    if (waiting != count) note("not all threads reach the barrier of line", fibers[0].line);
    for (unsigned i = 0; i < waiting; i++)
        if (fibers[i].line != fibers[0].line) note("threads wait at different barriers, some in line", fibers[i].line);
    return !error[0];
}

bool warps_wait_together(unsigned started) {
    int lines[MOST_THREADS / WARP] = {}, lanes[MOST_THREADS / WARP] = {};
    for (Fiber* fiber = fibers; fiber < fibers + started; fiber++) {
        if (!fiber->line || !fiber->for_its_warp) continue;
        unsigned warp = fiber->thread / WARP;
        if (!lanes[warp]++) lines[warp] = fiber->line;
        if (lines[warp] != fiber->line) note("threads of a warp wait at different places, some in line", fiber->line);
    }
    for (int warp = 0; warp < MOST_THREADS / WARP; warp++)
        if (lanes[warp] % WARP) note("not all threads of a warp reach line", lines[warp]);
    return !error[0];
}

unsigned how_many_wait(unsigned started, bool for_their_warp) {
    unsigned waiting = 0;
    for (unsigned i = 0; i < started; i++) waiting += fibers[i].line && fibers[i].for_its_warp >= for_their_warp;
    return waiting;
}

void run_block(int how) {
    unsigned order[MOST_THREADS];
    unsigned count = here.threads.x * here.threads.y * here.threads.z, started = 0;
    choose_order(order, count, how);
    memset(exchanges, 0, sizeof exchanges);
    epoch++;
    for (unsigned i = 0; i < count && !error[0]; i++) {
        fibers[started].thread = order[i];
        go_on(&fibers[started]);
        started += fibers[started].line != 0;  // a thread that met no barrier leaves its fiber to the next
    }
    for (unsigned waiting; !error[0] && (waiting = how_many_wait(started, false));) {
        bool warps = how_many_wait(started, true);  // these go first: they may have to come to a barrier yet
        if (!(warps ? warps_wait_together(started) : all_wait_together(waiting, count))) break;
        choose_order(order, started, how >= SHUFFLED ? how : FORWARD);  // the fibers are in the chosen order already
        if (!warps) epoch++;  // waiting for a warp does not order what its threads do to memory
        for (unsigned i = 0; i < started && !error[0]; i++) {
            Fiber* fiber = &fibers[order[i]];
            if (fiber->line && fiber->for_its_warp >= warps) go_on(fiber);
        }
    }
}

void open_books();
void new_block_in_books();
void close_books();

}  // namespace

void wait(int line, bool for_its_warp) {
    asm volatile("" ::: "memory");
    running->line = line;
    running->for_its_warp = for_its_warp;
    to_scheduler();
    asm volatile("" ::: "memory");
}

void barrier(int line) { wait(line, false); }

// Exchanges this thread's element for those of all 32 threads of its warp. Two buffers are used in turn, which is enough
// because no thread can be two exchanges ahead.
const Fragment* exchanged(int line, const Fragment& mine) {
    unsigned thread = running->thread;
    Fragment* all = fragments[thread / WARP][exchanges[thread]++ % 2];
    all[thread % WARP] = mine;
    wait(line, true);
    return all;
}

const char* launch(const unsigned* grid, const unsigned* block, int how, void (*kernel)(void*), void* what) {
    here.blocks = {grid[0], grid[1], grid[2]};
    here.threads = {block[0], block[1], block[2]};
    run = kernel;
    launched = what;
    random_state = 88172645463325252ull + how;
    error[0] = 0;
    unsigned count = grid[0] * grid[1] * grid[2];
    unsigned* order = (unsigned*)malloc(count * sizeof *order);
    choose_order(order, count, how);
    open_books();
    for (unsigned i = 0; i < count && !error[0]; i++) {
        here.block = unfolded(order[i], here.blocks);
        new_block_in_books();
        run_block(how);
    }
    close_books();
    free(order);
    if (error[0]) forget_fibers();
    return error;
}

}  // namespace emulator

namespace emulator {

#ifdef __SSE2__
enum { ARE_ZERO = 0x8040 };  // flush to zero, denormals are zero: bits of the register MXCSR
Subnormals::Subnormals(size_t size) : before(__builtin_ia32_stmxcsr()) {
    __builtin_ia32_ldmxcsr(size == 4 ? before | ARE_ZERO : before);
}
Subnormals::~Subnormals() { __builtin_ia32_ldmxcsr(before); }
#else
Subnormals::Subnormals(size_t) {}
Subnormals::~Subnormals() {}
#endif

}  // namespace emulator

extern "C" __global__ void register_array(void* start, size_t size) {  // start 0: clear all
    using namespace emulator;
    if (start)
        arrays[array_count++] = {(char*)start, size};
    else
        array_count = 0;
}

// ------------------------------------------------------------------------------------------------ recorded accesses

// Shared memory is what the kernel file declares static: the zeroed part of this library, a few kilobytes.
extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];

namespace emulator {
namespace {

struct Visit {
    unsigned block, thread;  // numbered from 1; block 0: no access yet
    unsigned long epoch;
};
struct Byte {
    Visit writer, reader, other_reader;
};
Byte** books = (Byte**)calloc(MOST_ARRAYS, sizeof(Byte*));
Byte* shared_book;

size_t shared_size() { return _end - __bss_start; }

void open_books() {
    for (int i = 0; i < array_count; i++) books[i] = (Byte*)calloc(arrays[i].size + 1, sizeof(Byte));
    shared_book = (Byte*)calloc(shared_size() + 1, sizeof(Byte));
}

void new_block_in_books() { memset((void*)shared_book, 0, shared_size() * sizeof(Byte)); }

void close_books() {
    for (int i = 0; i < array_count; i++) free(books[i]);
    free(shared_book);
}

unsigned number(dim3 i, dim3 size) { return 1 + i.x + size.x * (i.y + size.y * i.z); }

[[noreturn]] void stop(const char* what, int size) {
    note(what, size);
    _longjmp(scheduler, 1);
}

// Threads of a block are ordered by the barriers between them, blocks by nothing.
bool collide(Visit now, Visit then) {
    if (!then.block || (then.block == now.block && then.thread == now.thread)) return false;
    return then.block != now.block || then.epoch == now.epoch;
}

void visit(Byte* byte, Visit now, bool write, bool shared, int size) {
    if (shared && !write && !byte->writer.block) stop("shared memory is read before it is written, bytes", size);
    if (collide(now, byte->writer)) stop(write ? "race: two threads write, bytes" : "race: read after write, bytes", size);
    if (write && (collide(now, byte->reader) || collide(now, byte->other_reader)))
        stop("race: write after read, bytes", size);
    if (write) {
        byte->writer = now;
        return;
    }
    if (byte->reader.block != now.block || byte->reader.thread != now.thread) byte->other_reader = byte->reader;
    byte->reader = now;
}

Byte* book_of(char* place, size_t size) {
    for (int i = 0; i < array_count; i++)
        if (place >= arrays[i].start && place + size <= arrays[i].start + arrays[i].size)
            return books[i] + (place - arrays[i].start);
    return 0;
}

bool is_private(char* place) {
    bool stack = place >= running->stack && place < running->stack + STACK;
    return stack || (place >= (char*)&here && place < (char*)(&here + 1));
}

void look(char* place, size_t size, bool write) {
    if (is_private(place)) return;
    bool shared = place >= __bss_start && place + size <= _end;
    Byte* book = shared ? shared_book + (place - __bss_start) : book_of(place, size);
    if (!book) stop(write ? "write outside all arrays, bytes" : "read outside all arrays, bytes", (int)size);
    if ((size_t)place % size) stop("address not aligned to its size, bytes", (int)size);
    Visit now = {number(here.block, here.blocks), number(here.thread, here.threads), epoch};
    for (size_t i = 0; i < size; i++) visit(book + i, now, write, shared, (int)size);
}

}  // namespace
}  // namespace emulator

#define HOOK(name, size) \
    extern "C" void __tsan_##name(void* place) { emulator::look((char*)place, size, name##_writes); }
enum { read1_writes, read2_writes = 0, read4_writes = 0, read8_writes = 0, read16_writes = 0 };
enum { write1_writes = 1, write2_writes = 1, write4_writes = 1, write8_writes = 1, write16_writes = 1 };
HOOK(read1, 1)
HOOK(read2, 2)
HOOK(read4, 4)
HOOK(read8, 8)
HOOK(read16, 16)
HOOK(write1, 1)
HOOK(write2, 2)
HOOK(write4, 4)
HOOK(write8, 8)
HOOK(write16, 16)
extern "C" void __tsan_read_range(char* place, size_t size) {
    for (size_t i = 0; i < size; i++) emulator::look(place + i, 1, false);
}
extern "C" void __tsan_write_range(char* place, size_t size) {
    for (size_t i = 0; i < size; i++) emulator::look(place + i, 1, true);
}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}

// -------------------------------------------------------------------------------------------------- instructions of PTX

namespace emulator {
namespace {

// TF32 has the upper 19 bits of float32. Tensor cores give undefined results for unrounded inputs.
float tf32(unsigned bits) {
    float x = __uint_as_float(bits);
    if (bits & 0x1fff && x == x) stop("a number that is not TF32 reaches a tensor core, bits", (int)(bits & 0x1fff));
    return x;
}

}  // namespace
}  // namespace emulator

namespace ptx {

// To the nearest, ties away from zero; the magnitude is counted up, so infinity stays what it is.
void cvt_rna_tf32_f32(int, unsigned& rounded, float x) {
    rounded = x == x ? (__float_as_uint(x) + 0x1000) & ~0x1fffu : 0x7fffffff;
}

// PTX ISA, "Matrix Fragments for mma.m16n8k8" for .tf32: lane l holds
//     a[i] = A[l / 4 + 8 (i % 2), l % 4 + 4 (i / 2)],  b[i] = B[l % 4 + 4 i, l / 4],
//     c[i] = C[l / 4 + 8 (i / 2), 2 (l % 4) + i % 2].
void mma_sync_aligned_m16n8k8_row_col_f32_tf32_tf32_f32(
    int line, float& d0, float& d1, float& d2, float& d3, unsigned a0, unsigned a1, unsigned a2, unsigned a3,
    unsigned b0, unsigned b1, float c0, float c1, float c2, float c3) {
    using namespace emulator;
    Fragment mine = {{tf32(a0), tf32(a1), tf32(a2), tf32(a3)}, {tf32(b0), tf32(b1)}};
    unsigned lane = running->thread % WARP;
    const Fragment* all = exchanged(line, mine);
    float A[16][8], B[8][8], C[4] = {c0, c1, c2, c3};
    for (unsigned l = 0; l < WARP; l++) {
        for (int i = 0; i < 4; i++) A[l / 4 + i % 2 * 8][l % 4 + i / 2 * 4] = all[l].a[i];
        for (int i = 0; i < 2; i++) B[l % 4 + i * 4][l / 4] = all[l].b[i];
    }
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++) C[i] += A[lane / 4 + i / 2 * 8][k] * B[k][lane % 4 * 2 + i % 2];
    d0 = C[0], d1 = C[1], d2 = C[2], d3 = C[3];
}

}  // namespace ptx
