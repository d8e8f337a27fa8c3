/* Which variants the processor can run. Only the baseline library is asked. */
#include "vector.h"

#ifdef __x86_64__
#include <cpuid.h>

static uint64_t enabled_states(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}
#endif

/* The x86-64 level that the processor and operating system support, 2 to 4; 0 on other architectures. */
EXPORT int shan_cpu_level(void) {
#ifdef __x86_64__
    uint32_t a, b, c, d, basic, extended;
    const uint32_t level3_basic = bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C;
    const uint32_t level3 = bit_AVX2 | bit_BMI | bit_BMI2;
    const uint32_t level4 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    if (!__get_cpuid(1, &a, &b, &basic, &d) || (basic & level3_basic) != level3_basic) return 2;
    if (!__get_cpuid_count(7, 0, &a, &extended, &c, &d) || (extended & level3) != level3) return 2;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & bit_LZCNT)) return 2;
    uint64_t states = enabled_states();
    if ((states & 0x6) != 0x6) return 2;
    return (extended & level4) == level4 && (states & 0xe6) == 0xe6 ? 4 : 3;
#else
    return 0;
#endif
}
