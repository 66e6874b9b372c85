// One bind_OP per op; module.cpp calls them. Arguments are positional: a keyword costs 50 ns each.
#pragma once

#include <pybind11/pybind11.h>

namespace fastattn::bindings {

void bind_activation(pybind11::module_& m);
void bind_adam(pybind11::module_& m);
void bind_attention(pybind11::module_& m);
void bind_batch_norm(pybind11::module_& m);
void bind_binary(pybind11::module_& m);
void bind_cast(pybind11::module_& m);
void bind_conv(pybind11::module_& m);
void bind_cross_entropy(pybind11::module_& m);
void bind_device(pybind11::module_& m);
void bind_dropout(pybind11::module_& m);
void bind_embedding(pybind11::module_& m);
void bind_grad_norm(pybind11::module_& m);
void bind_layer_norm(pybind11::module_& m);
void bind_linear_cross_entropy(pybind11::module_& m);
void bind_matmul(pybind11::module_& m);
void bind_pool(pybind11::module_& m);
void bind_random(pybind11::module_& m);
void bind_recurrent(pybind11::module_& m);
void bind_rms_norm(pybind11::module_& m);
void bind_rope(pybind11::module_& m);
void bind_sgd(pybind11::module_& m);
void bind_softmax(pybind11::module_& m);
void bind_sum(pybind11::module_& m);
void bind_swiglu(pybind11::module_& m);
void bind_unary(pybind11::module_& m);

}  // namespace fastattn::bindings
