/* CUDA's short vectors, with the alignment that vector loads need on a card. */
#ifndef MU_STAND_IN_VECTOR_TYPES_H
#define MU_STAND_IN_VECTOR_TYPES_H

#ifdef __cplusplus
#define MU_STAND_IN_VECTOR(base, name, align2, align4)                                                       \
    struct name##1                                                                                           \
    {                                                                                                        \
        base x;                                                                                              \
    };                                                                                                       \
    struct alignas(align2) name##2                                                                           \
    {                                                                                                        \
        base x, y;                                                                                           \
    };                                                                                                       \
    struct name##3                                                                                           \
    {                                                                                                        \
        base x, y, z;                                                                                        \
    };                                                                                                       \
    struct alignas(align4) name##4                                                                           \
    {                                                                                                        \
        base x, y, z, w;                                                                                     \
    };                                                                                                       \
    static inline name##2 make_##name##2(base x, base y)                                                     \
    {                                                                                                        \
        return {x, y};                                                                                       \
    }                                                                                                        \
    static inline name##3 make_##name##3(base x, base y, base z)                                             \
    {                                                                                                        \
        return {x, y, z};                                                                                    \
    }                                                                                                        \
    static inline name##4 make_##name##4(base x, base y, base z, base w)                                     \
    {                                                                                                        \
        return {x, y, z, w};                                                                                 \
    }
MU_STAND_IN_VECTOR(signed char, char, 2, 4)
MU_STAND_IN_VECTOR(unsigned char, uchar, 2, 4)
MU_STAND_IN_VECTOR(short, short, 4, 8)
MU_STAND_IN_VECTOR(unsigned short, ushort, 4, 8)
MU_STAND_IN_VECTOR(int, int, 8, 16)
MU_STAND_IN_VECTOR(unsigned int, uint, 8, 16)
MU_STAND_IN_VECTOR(long long, longlong, 16, 16)
MU_STAND_IN_VECTOR(unsigned long long, ulonglong, 16, 16)
MU_STAND_IN_VECTOR(float, float, 8, 16)
MU_STAND_IN_VECTOR(double, double, 16, 16)
#undef MU_STAND_IN_VECTOR

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z)
    {
    }
};
#endif

#endif
