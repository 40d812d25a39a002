// BT_MULTIVERSION compiles a function for several instruction sets and picks one when the library is loaded, so that
// one build runs on any x86-64 machine and still uses the widest vectors it finds. The loops are written so that the
// compiler vectorises them across columns; elsewhere the macro is empty and the compiler's default set is used: clang,
// even version 22, refuses the attribute on a template.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define BT_MULTIVERSION __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BT_MULTIVERSION
#endif
