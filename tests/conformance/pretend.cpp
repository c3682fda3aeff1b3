// A device that is the host's memory under another name: torch and the code under test treat it as they treat a GPU.
// Tensors of two devices do not mix, and what a GPU would have to be waited for can be forbidden.
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/native/TensorFactories.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>

namespace {

using at::Tensor;
constexpr auto kPretend = c10::DeviceType::PrivateUse1;
const c10::Device the_device(kPretend, 0);
const c10::Stream the_stream(c10::Stream::DEFAULT, the_device);
std::atomic<bool> waits_forbidden = false;

bool ours(const Tensor& tensor) { return tensor.defined() && tensor.device().type() == kPretend; }

void wait(const std::string& where) { TORCH_CHECK(!waits_forbidden, "a GPU would be waited for in ", where); }

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes ? std::aligned_alloc(64, (bytes + 63) / 64 * 64) : nullptr;
    return {data, data, &std::free, the_device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Allocator allocator;
REGISTER_ALLOCATOR(kPretend, &allocator);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kPretend; }
  c10::Device exchangeDevice(c10::Device) const override { return the_device; }
  c10::Device getDevice() const override { return the_device; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return the_stream; }
  c10::Stream exchangeStream(c10::Stream) const override { return the_stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    *event = &allocator;  // anything but null
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool isAvailable() const override { return true; }
};
Hooks hooks;

// The same memory as a tensor of the CPU.
Tensor on_host(const Tensor& tensor) {
  if (!ours(tensor)) return tensor;
  const auto& storage = tensor.storage();
  const int64_t count = storage.nbytes() / tensor.itemsize();
  const auto all = at::from_blob(storage.mutable_data(), {count}, at::TensorOptions().dtype(tensor.scalar_type()));
  return at::as_strided(all, tensor.sizes(), tensor.strides(), tensor.storage_offset());
}

Tensor on_device(const Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  auto copy = at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(the_device));
  on_host(copy).copy_(tensor);
  return copy;
}

// Any operation that has no kernel below: by the CPU, on the same memory.
void by_the_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  static const std::set<std::string> waiting = {
      "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique", "aten::_unique2", "aten::unique_dim",
      "aten::unique_consecutive", "aten::bincount", "aten::histc", "aten::repeat_interleave"};
  const auto& schema = op.schema();
  if (waiting.count(schema.name())) wait(schema.name());
  const auto first = stack->size() - schema.arguments().size();
  std::vector<std::pair<Tensor, Tensor>> aliases;  // of the CPU, and whose memory it is
  bool host = false, device = false;
  const auto moved = [&](const Tensor& tensor, bool places = false) {
    if (!ours(tensor)) {
      host |= tensor.defined() && (tensor.dim() > 0 || places);  // another single number may come from anywhere
      return tensor;
    }
    device = true;
    if (tensor.numel())
      aliases.emplace_back(on_host(tensor), tensor);
    else  // maybe an output that the operation makes as large as it needs
      aliases.emplace_back(at::empty(tensor.sizes(), tensor.options().device(c10::kCPU)), tensor);
    return aliases.back().first;
  };
  for (auto place = first; place < stack->size(); ++place) {
    auto& value = (*stack)[place];
    if (value.isTensor()) {
      value = moved(value.toTensor(), schema.arguments()[place - first].name() == "index");
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& one : value.toTensorVector()) list.push_back(moved(one));
      value = std::move(list);
    } else if (value.isOptionalTensorList()) {  // indices: they may come from the CPU, but that takes a wait
      c10::List<std::optional<Tensor>> list;
      for (const std::optional<Tensor>& one : value.toOptionalTensorVector()) {
        const bool given = one && one->defined();
        if (given && (!ours(*one) || one->scalar_type() == at::kBool)) wait(schema.name());
        list.push_back(given && ours(*one) ? std::optional<Tensor>(moved(*one)) : one);
      }
      value = std::move(list);
    } else if (value.isDevice()) {
      value = c10::Device(c10::kCPU);
    }
  }
  TORCH_CHECK(!(host && device), schema.name(), ": expected tensors on one device, found some on the CPU");
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  for (const auto& [alias, own] : aliases)
    if (alias.sizes() != own.sizes()) {
      TORCH_CHECK(own.numel() == 0, schema.name(), ": expected an output of the right size or none");
      on_host(own.resize_(alias.sizes())).copy_(alias);
    }
  const auto back = [&](const Tensor& tensor) {
    for (const auto& [alias, own] : aliases)
      if (tensor.is_same(alias)) return own;
    return on_device(tensor);
  };
  for (auto place = stack->size() - schema.returns().size(); place < stack->size(); ++place) {
    auto& value = (*stack)[place];
    if (value.isTensor()) {
      const auto& alias = schema.returns()[place + schema.returns().size() - stack->size()].alias_info();
      TORCH_CHECK(!alias || alias->isWrite(), schema.name(), ": a view, which needs a kernel of its own");
      value = back(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& one : value.toTensorVector()) list.push_back(back(one));
      value = std::move(list);
    }
  }
}

Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_generic(size, &allocator, keys, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef strides, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  const c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);
  return at::detail::empty_strided_generic(size, strides, &allocator, keys, c10::dtype_or_default(dtype));
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  if (!ours(to)) wait("a copy to the CPU");
  if (!ours(from) && !non_blocking) wait("a copy from the CPU that is not non_blocking");
  on_host(to).copy_(on_host(from));
  return to;
}

at::Scalar item(const Tensor& tensor) {
  wait("item()");
  return on_host(tensor).item();
}

const Tensor& resize(const Tensor& tensor, c10::IntArrayRef size, std::optional<at::MemoryFormat> format) {
  const size_t bytes = (tensor.storage_offset() + c10::multiply_integers(size)) * tensor.itemsize();
  auto* storage = tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
  if (storage->nbytes() < bytes) {
    auto data = allocator.allocate(bytes);
    if (storage->nbytes()) std::memcpy(data.get(), storage->data(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(data));
    storage->set_nbytes(bytes);
  }
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  if (format) tensor.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  return tensor;
}

Tensor convolution(const Tensor& image, const Tensor& weight, const std::optional<Tensor>& bias,
                   c10::IntArrayRef stride, c10::IntArrayRef padding, c10::IntArrayRef dilation, bool transposed,
                   c10::IntArrayRef output_padding, int64_t groups) {
  const auto shift = bias ? std::optional<Tensor>(on_host(*bias)) : bias;
  TORCH_CHECK(ours(image) && ours(weight) && (!bias || !bias->defined() || ours(*bias)), "convolution: two devices");
  return on_device(at::convolution(on_host(image), on_host(weight), shift, stride, padding, dilation, transposed,
                                   output_padding, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& gradient, const Tensor& image,
                                                        const Tensor& weight, c10::IntArrayRef stride,
                                                        c10::IntArrayRef padding, c10::IntArrayRef dilation,
                                                        bool transposed, c10::IntArrayRef output_padding,
                                                        int64_t groups, std::array<bool, 3> mask) {
  const std::vector<int64_t> biases = {transposed ? weight.size(1) * groups : weight.size(0)};
  const auto [images, weights, shifts] =
      at::convolution_backward(on_host(gradient), on_host(image), on_host(weight), at::OptionalIntArrayRef(biases),
                               stride, padding, dilation, transposed, output_padding, groups, mask);
  return {on_device(images), on_device(weights), on_device(shifts)};
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  at::RegisterPrivateUse1HooksInterface(&hooks);
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&by_the_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("_copy_from", &copy_from);
  library.impl("_local_scalar_dense", &item);
  library.impl("resize_", &resize);
  library.impl("set_.source_Storage_storage_offset", &at::native::set_storage_cpu_);
  library.impl("view", static_cast<Tensor (*)(const Tensor&, c10::IntArrayRef)>(&at::native::view));
  library.impl("as_strided", &at::native::as_strided_tensorimpl);
  library.impl("_reshape_alias", &at::native::_reshape_alias);
  library.impl("unfold", &at::native::unfold);
  library.impl("convolution_overrideable", &convolution);
  library.impl("convolution_backward_overrideable", &convolution_backward);
  for (const auto* name : {"native_group_norm", "native_layer_norm", "mse_loss", "smooth_l1_loss"})
    // otherwise torch composes them of smaller ones, which lack some layouts and outputs
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&by_the_cpu>());
}

TORCH_LIBRARY(pretend, library) {
  library.def("forbid_waits(bool on) -> ()", [](bool on) { waits_forbidden = on; });
  library.def("wait(str where) -> ()", [](std::string where) { wait(where); });
}
