// What plain_c.c, which the C compiler builds, offers to the tests.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// Compiles the .pt2 file with one input x : f32[rows,8] and first output f32[rows,4], runs it on
// elements 0.5 and writes that output. Returns the code of the error, or "" (to be freed).
char* run_in_plain_c(const char* pt2, int rows, float* results);

#ifdef __cplusplus
}
#endif
