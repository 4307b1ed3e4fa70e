/* SPDX-License-Identifier: Apache-2.0 */
/* The process that holds an in-house CA's key: porticod --signer, spawned by backends/local. */
#ifndef PORTICO_SIGNER_H
#define PORTICO_SIGNER_H

/* Runs until the other end of fd, a stream socket, is closed. Returns the exit code; meant to be main's last call. */
int signer_main(int fd);

#endif
