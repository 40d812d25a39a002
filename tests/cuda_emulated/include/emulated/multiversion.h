// A function compiled for several instruction sets, of which the library takes one when it is loaded.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define BT_EMULATED_MULTIVERSION __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BT_EMULATED_MULTIVERSION
#endif
