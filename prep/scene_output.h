/* Where the files of samples go: into a tar shard that is written beside and renamed, so that it is complete or absent,
 * or into a folder per split. */
#ifndef MEMCLIP_PREP_SCENE_OUTPUT_H
#define MEMCLIP_PREP_SCENE_OUTPUT_H
#include "base/error.h"
#include "base/text.h"
#include <stdbool.h>
#include <stdint.h>

enum scene_format { FORMAT_TAR, FORMAT_CSV, FORMAT_COUNT }; /* csv: loose files and, from the summary, SPLIT.csv */
extern const char *const scene_format_names[FORMAT_COUNT];
struct scene_output;
/* DIRECTORY/SPLIT-000012.tar, or DIRECTORY/SPLIT/ (made if absent). */
enum status scene_output_open(enum scene_format format, const char *directory, const char *split, int64_t shard,
                              struct scene_output **output);
/* One file KEY.SUFFIX. */
enum status scene_output_add(struct scene_output *output, const char *key, const char *suffix,
                             const struct text *bytes);
/* Ends and frees. With `status` STATUS_OK the shard gets its name, else it is removed and `status` passed on. */
enum status scene_output_close(struct scene_output *output, enum status status);
#endif
