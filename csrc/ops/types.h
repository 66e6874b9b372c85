/* The types that every entry of the table is made of. Plain C11, so that C, C++, Rust or Go can call the library. */
#ifndef FASTATTN_OPS_TYPES_H
#define FASTATTN_OPS_TYPES_H

#include <stddef.h>
#include <stdint.h>

enum { FA_MAX_DIMS = 8 };

typedef enum fa_dtype {
  FA_F32 = 0,
  FA_F64 = 1,
  FA_F16 = 2,
  FA_BF16 = 3,
  FA_BOOL = 4,
  FA_U8 = 5,
  FA_I8 = 6,
  FA_I16 = 7,
  FA_I32 = 8,
  FA_I64 = 9,
  FA_NUM_DTYPES = 10
} fa_dtype;
/* A floating dtype is one of the first four. Its accumulator is f64 for f64 and f32 for the others. */

/* A view of memory that somebody else owns. data == NULL: the argument is absent (an empty tensor has a non-NULL data).
 */
typedef struct fa_tensor {
  void* data;
  int32_t dtype; /* fa_dtype */
  int32_t ndim;
  int64_t shape[FA_MAX_DIMS];
  int64_t strides[FA_MAX_DIMS]; /* in elements; 0 (broadcast) and negative ones are allowed */
} fa_tensor;

typedef enum fa_status {
  FA_OK = 0,
  FA_UNSUPPORTED = 1,   /* this backend has no kernel for the request; launch->reason says which part */
  FA_INVALID = 2,       /* a value that only the data shows, such as a token id out of range; nothing was written */
  FA_OUT_OF_MEMORY = 3, /* launch->reason says what was asked for */
} fa_status;

enum { FA_REASON_SIZE = 192 };

/* How to run a call, and what there is to say about it. A call with query = 1 runs nothing: it fills in the workspace
 * that the real call needs, the kernel that it would use, its work and its traffic. Zero-initialise, set size. */
typedef struct fa_launch {
  uint32_t size;  /* sizeof(fa_launch) */
  uint32_t query; /* in: 1 = only fill in what is below */
  void* stream;   /* in: the CUDA stream; NULL on the CPU */
  void* workspace;
  size_t workspace_bytes; /* query: out. run: in, at least what the query said; 64-byte aligned, on the device */
  int32_t num_threads;    /* query: out. run: in (the workspace may hold one part a thread) */
  int32_t device;         /* in: the CUDA device; 0 on the CPU */
  const char* kernel;     /* out: static string, for example "softmax_fwd_f32_avx512" */
  double flops;           /* out, query only */
  double bytes;           /* out, query only: compulsory traffic */
  char reason[FA_REASON_SIZE];
} fa_launch;

typedef struct fa_device_info {
  char name[256];
  int32_t major; /* compute capability */
  int32_t minor;
  int32_t num_multiprocessors;
  size_t total_bytes;
  size_t free_bytes;
} fa_device_info;

#endif
