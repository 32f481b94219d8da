/* A contact sheet: the first pictures of a split in rows, as PNG. */
#ifndef MEMCLIP_PREP_SCENE_SHEET_H
#define MEMCLIP_PREP_SCENE_SHEET_H
#include "base/error.h"
#include "scene_world.h"

enum status scene_sheet_write(const char *path, uint64_t seed, enum scene_split split, int columns, int rows,
                              int pixels);
#endif
