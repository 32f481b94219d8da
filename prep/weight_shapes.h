/* What the shapes of weights say about the model. */
#ifndef MEMCLIP_PREP_WEIGHT_SHAPES_H
#define MEMCLIP_PREP_WEIGHT_SHAPES_H
#include "model/config.h"
#include "weight_names.h"
/* Everything but what shapes cannot say: heads are 0, knn is 0, the activation is unknown. STATUS_INPUT names the
 * weight that is missing or misshapen. */
enum status weight_shapes_read(const struct weight_list *list, struct clip_config *config);
#endif
