#include "base/checksum.h"
#include <pthread.h>
#include <string.h>

static uint32_t tables[8][256]; /* tables[k][b]: the CRC of byte b followed by k zero bytes */
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++)
      crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
    tables[0][byte] = crc;
  }
  for (int k = 1; k < 8; k++)
    for (int byte = 0; byte < 256; byte++)
      tables[k][byte] = (tables[k - 1][byte] >> 8) ^ tables[0][tables[k - 1][byte] & 0xff];
}

uint32_t checksum_crc32c_portable(uint32_t crc, const void *data, size_t size) {
  pthread_once(&tables_once, make_tables);
  const uint8_t *p = data;
  crc = ~crc;
  for (; size >= 8; size -= 8, p += 8) {
    uint32_t mixed = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
    crc = tables[7][mixed & 0xff] ^ tables[6][mixed >> 8 & 0xff] ^ tables[5][mixed >> 16 & 0xff] ^
          tables[4][mixed >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
  }
  for (; size > 0; size--, p++)
    crc = (crc >> 8) ^ tables[0][(crc ^ *p) & 0xff];
  return ~crc;
}

#ifdef __x86_64__
/* The instruction takes a word per cycle but answers after three, so three runs of RUN_BYTES go side by side. With A,
 * B, C their remainders, that of the whole is shift(shift(A) + B) + C, where shift appends RUN_BYTES zeros: linear over
 * GF(2), hence a sum over the bytes of its argument. */
enum { RUN_BYTES = 4096, RUNS = 3 };
static uint32_t shifts[4][256]; /* shifts[k][b]: shift of byte b at place k */
static pthread_once_t shifts_once = PTHREAD_ONCE_INIT;

__attribute__((target("sse4.2"))) static void make_shifts(void) {
  for (int bit = 0; bit < 32; bit++) {
    uint64_t basis = (uint64_t)1 << bit;
    for (int word = 0; word < RUN_BYTES / 8; word++)
      basis = __builtin_ia32_crc32di(basis, 0);
    for (int byte = 0; byte < 256; byte++)
      shifts[bit / 8][byte] ^= byte >> bit % 8 & 1 ? (uint32_t)basis : 0;
  }
}

static uint32_t shift(uint32_t crc) {
  return shifts[0][crc & 0xff] ^ shifts[1][crc >> 8 & 0xff] ^ shifts[2][crc >> 16 & 0xff] ^ shifts[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t three_runs(uint32_t crc, const uint8_t *p) {
  uint64_t a = crc, b = 0, c = 0, word;
  for (int i = 0; i < RUN_BYTES; i += 8) {
    memcpy(&word, p + i, 8);
    a = __builtin_ia32_crc32di(a, word);
    memcpy(&word, p + RUN_BYTES + i, 8);
    b = __builtin_ia32_crc32di(b, word);
    memcpy(&word, p + 2 * RUN_BYTES + i, 8);
    c = __builtin_ia32_crc32di(c, word);
  }
  return shift(shift((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t size) {
  const uint8_t *p = data;
  crc = ~crc;
  if (size >= RUNS * RUN_BYTES)
    pthread_once(&shifts_once, make_shifts);
  for (; size >= RUNS * RUN_BYTES; size -= RUNS * RUN_BYTES, p += RUNS * RUN_BYTES)
    crc = three_runs(crc, p);
  uint64_t wide = crc, word;
  for (; size >= 8; size -= 8, p += 8) {
    memcpy(&word, p, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = (uint32_t)wide;
  for (; size > 0; size--, p++)
    crc = __builtin_ia32_crc32qi(crc, *p);
  return ~crc;
}
#endif

uint32_t checksum_crc32c(uint32_t crc, const void *data, size_t size) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("sse4.2"))
    return crc32c_sse42(crc, data, size);
#endif
  return checksum_crc32c_portable(crc, data, size);
}
