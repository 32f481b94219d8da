/* CRC-32C (Castagnoli, reflected, as in iSCSI): SSE4.2 where the processor has it, tables elsewhere. Start with 0; feed
 * the result back to go on with the next piece. */
#ifndef MEMCLIP_BASE_CHECKSUM_H
#define MEMCLIP_BASE_CHECKSUM_H
#include <stddef.h>
#include <stdint.h>
uint32_t checksum_crc32c(uint32_t crc, const void *data, size_t size);
/* The same by tables alone, for tests. */
uint32_t checksum_crc32c_portable(uint32_t crc, const void *data, size_t size);
#endif
