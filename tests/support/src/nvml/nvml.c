/* NVIDIA's management library for a machine with two GPUs: as much of it as nvml-wrapper asks for. */
#include <stdint.h>
#include <stdio.h>

#define GPUS 2
#define NOT_FOUND 6

struct memory {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

static unsigned long long index_of(void *device) { return (uintptr_t)device - 1; }

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int result) { return result == 0 ? "success" : "not found"; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "580.65.06");
    return 0;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = 13000;
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    (void)device;
    *major = 7;
    *minor = 5;
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = GPUS;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)((uintptr_t)index + 1);
    return index < GPUS ? 0 : NOT_FOUND;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory) {
    memory->total = 16ULL << 30;
    memory->free = (12 + index_of(device)) << 30;
    memory->used = memory->total - memory->free;
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%llu-5a", index_of(device));
    return 0;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    (void)device;
    snprintf(name, length, "Tesla T4");
    return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *processes) {
    (void)device;
    (void)processes;
    *count = 0;
    return 0;
}
