/* What the launcher did: a launch in which every process believes it is alone, and ranks bound to one core beside idle
 * ones. */
#ifndef MEMCLIP_COMM_LAUNCH_H
#define MEMCLIP_COMM_LAUNCH_H
#include "base/error.h"

/* STATUS_SYSTEM with an explanation when MPI counts one process but the environment tells of several. */
enum status launch_check_alone(int mpi_size);
#endif
