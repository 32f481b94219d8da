/* Positional tables for another image size or context length, as open_clip resamples them on loading (contract 1.9). */
#ifndef MEMCLIP_PREP_RESAMPLE_H
#define MEMCLIP_PREP_RESAMPLE_H
#include <stdint.h>
/* [1 + old * old, width] to [1 + height * columns, width]: the class row is kept, the grid is resampled bicubically
 * (a = -0.5) with antialiasing. */
void resample_grid(const float *from, int64_t old, float *to, int64_t height, int64_t columns, int64_t width);
/* [old, width] to [length, width], linearly. */
void resample_line(const float *from, int64_t old, float *to, int64_t length, int64_t width);
#endif
