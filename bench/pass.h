/* Whole passes over a model with synthetic inputs, on any device: the forward of the vision tower, the optimiser step
 * of the distillation of a memory student (two accumulated micro-batches), the same with the teacher's features at
 * hand, the contrastive step. What a pass computes is a function of its request, so that two devices can be compared
 * step by step. Neither MPI, files nor data: what the step loop of src/train/ enqueues on one rank. */
#ifndef MEMCLIP_BENCH_PASS_H
#define MEMCLIP_BENCH_PASS_H
#include "model/model.h"

enum pass_kind { PASS_FORWARD, PASS_DISTILL, PASS_CACHED, PASS_CONTRASTIVE, PASS_KINDS };
extern const char *const pass_names[PASS_KINDS]; /* "forward", "distill", "cached", "contrastive" */

struct pass_request {
  enum pass_kind kind;
  struct device *device;
  enum dtype dtype;
  const struct clip_config *config;   /* of the teacher, or the one model; its activation must be known */
  const struct memory_config *memory; /* of the student's vision tower; NULL: pass_reference_memory */
  int batch;
  double rate; /* of AdamW */
};
/* The thesis's memories: 64 slots in every second block from the third on. */
struct memory_config pass_reference_memory(const struct tower_config *tower);

struct pass;
enum status pass_open(const struct pass_request *request, struct pass **pass);
void pass_close(struct pass *pass);
int pass_items(const struct pass *pass); /* images or pairs of one step */
/* One step is enqueued. */
void pass_step(void *pass);
double pass_take_loss(struct pass *pass); /* the sum of the losses since it was last asked; waits */
const struct parameters *pass_parameters(const struct pass *pass);
#endif
